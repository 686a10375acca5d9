/* The text in a JSON value: one string of an object, or the value itself when it is a string. Whatever Python's json
   reads is read: NaN and infinities, numbers of any length, a key that comes again (the last counts), \u0000 as the
   byte 0, half a surrogate pair as U+FFFD. */
#include "jsontext.h"

#include <stdlib.h>

enum { DEEPEST = 1000 };

static void value(struct jsontext *j, const char *path, int depth);

static void broken(struct jsontext *j, const char *why)
{
    if (j->why) return;
    j->why = why;
    j->where = j->at;
}

static void skip_space(struct jsontext *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r')) j->at++;
}

/* Whether the next character is this one, which is then passed. */
static bool passes(struct jsontext *j, char c)
{
    if (j->at == j->end || *j->at != c) return false;
    j->at++;
    return true;
}

/* Four hexadecimal digits at `at`, or -1. */
static int32_t hex4(const char *at, const char *end)
{
    int32_t code = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i], lower = (char)(c | 32);
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        code = code << 4 | digit;
    }
    return code;
}

/* Behind \u; two that are a pair are one code point. */
static void unicode(struct jsontext *j, struct buffer *to)
{
    int32_t code = hex4(j->at, j->end), low = -1;
    if (code < 0) { broken(j, "\\u must have four hexadecimal digits"); return; }
    j->at += 4;
    bool half = code >= 0xd800 && code < 0xdc00;
    if (half && j->end - j->at >= 6 && j->at[0] == '\\' && j->at[1] == 'u') low = hex4(j->at + 2, j->end);
    if (low >= 0xdc00 && low < 0xe000) {
        j->at += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    utf8_append(to, (uint32_t)code);
}

static void escape(struct jsontext *j, struct buffer *to)
{
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *name = j->at < j->end && *j->at ? strchr(names, *j->at) : NULL;
    if (name) {
        j->at++;
        buffer_append(to, &means[name - names], 1);
    }
    else if (passes(j, 'u')) unicode(j, to);
    else broken(j, "no such escape");
}

/* From behind the opening quote to behind the closing one. */
static void string(struct jsontext *j, struct buffer *to)
{
    to->used = 0;
    while (!j->why) {
        const char *run = j->at;
        while (j->at < j->end && *j->at != '"' && *j->at != '\\' && (unsigned char)*j->at >= ' ') {
            int n = utf8_length(j->at, j->end);
            if (!n) { broken(j, "not UTF-8"); return; }
            j->at += n;
        }
        buffer_append(to, run, (size_t)(j->at - run));
        if (j->at == j->end) broken(j, "the string does not end");
        else if (passes(j, '"')) return;
        else if (passes(j, '\\')) escape(j, to);
        else broken(j, "a control character in a string");
    }
}

static bool digits(struct jsontext *j)
{
    const char *begin = j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
    return j->at > begin;
}

static bool word(struct jsontext *j, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(j->end - j->at) < n || memcmp(j->at, text, n)) return false;
    j->at += n;
    return true;
}

static void number(struct jsontext *j)
{
    bool negative = passes(j, '-');
    if (word(j, "Infinity") || (!negative && word(j, "NaN"))) return;
    if (!passes(j, '0') && !digits(j)) { broken(j, "no JSON value"); return; }
    if (passes(j, '.') && !digits(j)) { broken(j, "no digits behind the point"); return; }
    if (!passes(j, 'e') && !passes(j, 'E')) return;
    if (!passes(j, '+')) passes(j, '-');
    if (!digits(j)) broken(j, "no digits in the exponent");
}

static void array(struct jsontext *j, int depth)
{
    skip_space(j);
    if (passes(j, ']')) return;
    while (!j->why) {
        value(j, NULL, depth);
        skip_space(j);
        if (passes(j, ']')) return;
        if (!passes(j, ',')) broken(j, "expected ',' or ']'");
    }
}

/* What of the path is left in the member of this name: "" when the member is meant, NULL when nothing in it is. */
static const char *rest_of(const char *path, const struct buffer *name)
{
    if (!path || strncmp(path, name->bytes ? name->bytes : "", name->used) || strlen(path) < name->used) return NULL;
    return path[name->used] == '.' ? path + name->used + 1 : path[name->used] ? NULL : path + name->used;
}

static void note_name(struct jsontext *j)
{
    enum { MOST = 100 };
    if (j->names.used > MOST) return;
    if (j->names.used) buffer_append(&j->names, ", ", 2);
    buffer_append(&j->names, j->name.bytes, j->name.used);
}

static void object(struct jsontext *j, const char *path, int depth)
{
    skip_space(j);
    if (passes(j, '}')) return;
    while (!j->why) {
        skip_space(j);
        if (!passes(j, '"')) { broken(j, "expected a name in quotes"); return; }
        string(j, &j->name);
        if (j->why) return;
        if (depth == 1) note_name(j);
        const char *rest = rest_of(path, &j->name);
        if (rest) j->found = false;
        skip_space(j);
        if (!passes(j, ':')) { broken(j, "expected ':'"); return; }
        value(j, rest, depth);
        skip_space(j);
        if (passes(j, '}')) return;
        if (!passes(j, ',')) broken(j, "expected ',' or '}'");
    }
}

/* path: where in the value the text is; "": it is the value; NULL: it is elsewhere. */
static void value(struct jsontext *j, const char *path, int depth)
{
    skip_space(j);
    if (depth >= DEEPEST) broken(j, "nested too deeply");
    else if (j->at == j->end) broken(j, "a value is missing");
    else if (passes(j, '"')) {
        string(j, path && !*path ? &j->text : &j->unused);
        if (path && !*path) j->found = true;
    }
    else if (passes(j, '{')) object(j, path && *path ? path : NULL, depth + 1);
    else if (passes(j, '[')) array(j, depth + 1);
    else if (!word(j, "true") && !word(j, "false") && !word(j, "null")) number(j);
}

enum jsontext_found jsontext_value(struct jsontext *j, const char *key)
{
    j->names.used = 0;
    j->found = false;
    j->why = NULL;
    skip_space(j);
    value(j, j->at < j->end && *j->at == '"' ? "" : key, 0);
    return j->why ? JSONTEXT_BROKEN : j->found ? JSONTEXT_TEXT : JSONTEXT_NONE;
}

bool jsontext_passes(struct jsontext *j, char c)
{
    skip_space(j);
    return passes(j, c);
}

enum jsontext_found jsontext_whole(struct jsontext *j, const char *text, size_t length, const char *key)
{
    j->at = text;
    j->end = text + length;
    enum jsontext_found found = jsontext_value(j, key);
    if (found == JSONTEXT_BROKEN) return found;
    skip_space(j);
    if (j->at == j->end) return found;
    broken(j, "more behind the value");
    return JSONTEXT_BROKEN;
}

/* ---- by parts ---- */

const char *jsontext_kind(struct jsontext *j)
{
    skip_space(j);
    switch (j->at < j->end ? *j->at : 0) {
    case 0: return "missing";
    case '"': return "a string";
    case '{': return "an object";
    case '[': return "a list";
    case 't': case 'f': return "true or false";
    case 'n': return "null";
    default: return "a number";
    }
}

void jsontext_skip(struct jsontext *j) { value(j, NULL, 0); }

bool jsontext_string(struct jsontext *j, struct buffer *to, const char *else_why)
{
    if (!jsontext_passes(j, '"')) broken(j, else_why);
    else string(j, to);
    return !j->why;
}

bool jsontext_expects(struct jsontext *j, char c)
{
    if (!jsontext_passes(j, c)) broken(j, "expected ':'");
    return !j->why;
}

bool jsontext_opens_empty(struct jsontext *j, char opens, char closes)
{
    return jsontext_passes(j, opens) && jsontext_passes(j, closes);
}

bool jsontext_goes_on(struct jsontext *j, char closes)
{
    if (j->why || jsontext_passes(j, closes)) return false;
    if (!jsontext_passes(j, ',')) broken(j, closes == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    return !j->why;
}

void jsontext_free(struct jsontext *j)
{
    free(j->text.bytes);
    free(j->name.bytes);
    free(j->names.bytes);
    free(j->unused.bytes);
}
