/* The text of a page: without tags, comments, scripts and styles; entities decoded; white space as a browser joins it,
   with blocks on lines of their own. No menu or advertisement is told from what the page is about. */
#define _GNU_SOURCE
#include "inputs.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct page {
    const char *at, *end;
    struct buffer *to;
    int breaks;                             /* line ends that are due before the next word */
    bool space;                             /* a space is */
    int preformatted;
};

static const char *const skipped[] = { "script", "style", "template", "noscript", "svg", "iframe", "object", NULL };
static const char *const blocks[] = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "title",
    "tr", "ul", NULL
};
static const char *const paragraphs[] = {
    "blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "table", "title",
    "ul", NULL
};

static bool among(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name)) names++;
    return *names;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* What is due before a word or a character of preformatted text. */
static void settle(struct page *p)
{
    if (p->to->used) for (; p->breaks > 0; p->breaks--) buffer_append(p->to, "\n", 1);
    else p->space = false;
    bool begins = p->to->used && p->to->bytes[p->to->used - 1] == '\n';
    if (p->space && !begins) buffer_append(p->to, " ", 1);
    p->breaks = 0;
    p->space = false;
}

static void break_line(struct page *p, int lines)
{
    if (p->breaks < lines) p->breaks = lines;
    p->space = false;
}

/* ISO 8859-1 from 160 on, in order; then others that pages use. */
static const char latin[] = 
    "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute "
    "micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring "
    "AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml "
    "times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil "
    "egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash "
    "ugrave uacute ucirc uuml yacute thorn yuml ";
static const struct { const char *name; uint32_t code; } others[] = {
    { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' }, { "ndash", 0x2013 },
    { "mdash", 0x2014 }, { "lsquo", 0x2018 }, { "rsquo", 0x2019 }, { "sbquo", 0x201a }, { "ldquo", 0x201c },
    { "rdquo", 0x201d }, { "bdquo", 0x201e }, { "dagger", 0x2020 }, { "bull", 0x2022 }, { "hellip", 0x2026 },
    { "prime", 0x2032 }, { "lsaquo", 0x2039 }, { "rsaquo", 0x203a }, { "euro", 0x20ac }, { "trade", 0x2122 },
    { "larr", 0x2190 }, { "rarr", 0x2192 }, { "minus", 0x2212 }, { "infin", 0x221e }, { "asymp", 0x2248 },
    { "ne", 0x2260 }, { "le", 0x2264 }, { "ge", 0x2265 }, { "ensp", 0x2002 }, { "emsp", 0x2003 },
    { "thinsp", 0x2009 }, { "zwnj", 0x200c }, { "zwj", 0x200d }, { "oelig", 0x153 }, { "OElig", 0x152 },
};

/* The code of a named entity, 0 when it is not known. */
static uint32_t named(const char *name, size_t length)
{
    uint32_t code = 160;
    for (const char *at = latin; *at; at += strcspn(at, " ") + 1, code++)
        if (strcspn(at, " ") == length && !memcmp(at, name, length)) return code;
    for (int i = 0; i < COUNT(others); i++)
        if (strlen(others[i].name) == length && !memcmp(others[i].name, name, length)) return others[i].code;
    return 0;
}

/* At '&'. What is no entity stays as it stands. */
static void entity(struct page *p)
{
    enum { LONGEST = 12 };
    const char *name = p->at + 1, *at = name;
    uint32_t code = 0;
    while (at < p->end && at - name < LONGEST && (isalnum((unsigned char)*at) || *at == '#')) at++;
    if (at < p->end && *at == ';' && at > name) {
        bool hexadecimal = at - name > 2 && name[0] == '#' && (name[1] | 32) == 'x';
        char *end = NULL;
        if (hexadecimal) code = (uint32_t)strtoul(name + 2, &end, 16);
        else if (*name == '#' && name[1] != ';') code = (uint32_t)strtoul(name + 1, &end, 10);
        else code = named(name, (size_t)(at - name));
        if (end && end != at) code = 0;
    }
    if (code == 0xa0) { p->space = true; p->at = at + 1; return; }
    settle(p);
    if (!code) { buffer_append(p->to, p->at++, 1); return; }
    utf8_append(p->to, code);
    p->at = at + 1;
}

/* Beyond the end of the tag at `at`; a '>' in a quoted attribute does not end it. */
static const char *tag_end(const char *at, const char *end)
{
    for (char quote = 0; at < end; at++) {
        if (quote) quote = *at == quote ? 0 : quote;
        else if ((*at == '"' || *at == '\'') && at[-1] == '=') quote = *at;
        else if (*at == '>') return at + 1;
    }
    return end;
}

static const char *beyond(const char *at, const char *end, const char *text)
{
    const char *found = memmem(at, (size_t)(end - at), text, strlen(text));
    return found ? found + strlen(text) : end;
}

/* Beyond the element's end tag. */
static const char *element_end(const char *at, const char *end, const char *name)
{
    size_t n = strlen(name);
    for (; (size_t)(end - at) > n + 2; at++)
        if (at[0] == '<' && at[1] == '/' && !strncasecmp(at + 2, name, n) && !isalnum((unsigned char)at[n + 2]))
            return tag_end(at + 2, end);
    return end;
}

/* At '<', which begins a tag, a comment, a declaration, or nothing. */
static void tag(struct page *p)
{
    enum { LONGEST = 16 };
    char name[LONGEST] = "";
    const char *at = p->at + 1;
    size_t left = (size_t)(p->end - p->at);
    bool closes = left > 1 && *at == '/';
    at += closes;
    if (left >= 4 && !memcmp(p->at, "<!--", 4)) { p->at = beyond(p->at + 4, p->end, "-->"); return; }
    if (left >= 9 && !memcmp(p->at, "<![CDATA[", 9)) { p->at = beyond(p->at + 9, p->end, "]]>"); return; }
    if (left > 1 && (*at == '!' || *at == '?')) { p->at = tag_end(at, p->end); return; }
    if (at == p->end || !isalpha((unsigned char)*at)) { settle(p); buffer_append(p->to, p->at++, 1); return; }
    for (int i = 0; i < LONGEST - 1 && at < p->end && isalnum((unsigned char)*at); i++, at++)
        name[i] = (char)tolower((unsigned char)*at);
    p->at = tag_end(at, p->end);
    if (!closes && p->at[-2] != '/' && among(skipped, name)) p->at = element_end(p->at, p->end, name);
    else if (!strcmp(name, "br")) p->breaks++;
    else if (!strcmp(name, "td") || !strcmp(name, "th")) p->space = true;
    else if (among(blocks, name)) break_line(p, among(paragraphs, name) ? 2 : 1);
    if (!strcmp(name, "pre")) p->preformatted += closes ? -(p->preformatted > 0) : 1;
}

void html_text(const char *page, size_t bytes, struct buffer *to)
{
    struct page p = { .at = page, .end = page + bytes, .to = to };
    while (p.at < p.end) {
        if (*p.at == '<') tag(&p);
        else if (*p.at == '&') entity(&p);
        else if (is_space(*p.at) && !p.preformatted) { p.space = true; p.at++; }
        else { settle(&p); buffer_append(to, p.at++, 1); }
    }
    if (to->used) buffer_append(to, "\n", 1);
}
