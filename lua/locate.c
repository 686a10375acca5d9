/* Where a key is written in the text of a script: the text's tokens and its table constructors, nothing evaluated. */
#include "locate.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 64, PATH_MAX_LENGTH = 1000, DEEPEST = 256 };

/* Length of the opening of a long bracket ("[[", "[==["), or 0. */
static int long_bracket(const char *c)
{
    int level = 0;
    if (*c != '[') return 0;
    while (c[1 + level] == '=') level++;
    return c[1 + level] == '[' ? level + 2 : 0;
}

static const char *long_end(const char *c, int opening)     /* after the closing bracket */
{
    for (c += opening; *c; c++) {
        if (*c != ']') continue;
        int level = 0;
        while (c[1 + level] == '=') level++;
        if (level == opening - 2 && c[1 + level] == ']') return c + level + 2;
    }
    return c;
}

static const char *short_end(const char *c)                 /* after the closing quote */
{
    char quote = *c++;
    for (; *c && *c != quote && *c != '\n'; c++) {
        if (*c == '\\' && c[1] == 'z') c += 1 + strspn(c + 2, " \f\n\r\t\v");
        else if (*c == '\\' && c[1]) c++;
    }
    return *c ? c + 1 : c;
}

static const char *comment_end(const char *c)
{
    int opening = long_bracket(c + 2);
    return opening ? long_end(c + 2, opening) : c + strcspn(c, "\n");
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* One token, of which `at` and `length` are a string's content; returns where the next begins. */
static const char *read_token(const char *c, struct token *t)
{
    const char *end = c;
    int opening = long_bracket(c);
    if (opening) {
        end = long_end(c, opening);
        *t = (struct token){ .kind = TOKEN_STRING, .at = c + opening, .length = (int)(end - c) - 2 * opening };
        if (t->length < 0) t->length = 0;                   /* unfinished */
    } else if (*c == '"' || *c == '\'') {
        end = short_end(c);
        *t = (struct token){ .kind = TOKEN_STRING, .at = c + 1, .length = (int)(end - c) - 2 };
        if (t->length < 0) t->length = 0;
    } else if (is_word(*c)) {
        while (is_word(*end)) end++;
        *t = (struct token){ .kind = isdigit((unsigned char)*c) ? TOKEN_OTHER : TOKEN_NAME, .at = c,
                             .length = (int)(end - c) };
    } else {
        bool two = c[1] == '=' && strchr("=~<>", *c);       /* "==" is no "=" */
        end = c + 1 + two;
        *t = (struct token){ .kind = two ? TOKEN_OTHER : TOKEN_SIGN, .at = c, .length = 1 };
    }
    return end;
}

static bool is_sign(const struct source *s, int i, char sign)
{
    return i >= 0 && i < s->n && s->token[i].kind == TOKEN_SIGN && *s->token[i].at == sign;
}

static bool is_text(const struct source *s, int i, enum token_kind kind, const char *text, size_t length)
{
    return i >= 0 && i < s->n && s->token[i].kind == kind && (size_t)s->token[i].length == length &&
           memcmp(s->token[i].at, text, length) == 0;
}

/* Cuts the text into n tokens; NULL: only counts them. */
static int cut(const char *text, struct token *tokens)
{
    struct token one;
    int n = 0, line = 1;
    for (const char *c = text, *next; *c; c = next) {
        struct token *t = tokens ? &tokens[n] : &one;
        bool space = isspace((unsigned char)*c), comment = c[0] == '-' && c[1] == '-';
        if (space) next = c + 1;
        else if (comment) next = comment_end(c);
        else next = read_token(c, t);
        if (!space && !comment) { t->line = line; n++; }
        for (; c < next; c++) line += *c == '\n';
    }
    return n;
}

/* Every opening bracket learns where its closing one is; what is never closed ends with the text. */
static void pair_up(struct source *s)
{
    int open = -1;    /* the innermost; each keeps the one around it in pair meanwhile */
    for (int i = 0; i < s->n; i++) {
        struct token *t = &s->token[i];
        if (t->kind == TOKEN_SIGN && strchr("{([", *t->at)) { t->pair = open; open = i; }
        if (t->kind != TOKEN_SIGN || !strchr("})]", *t->at) || open < 0) continue;
        int around = s->token[open].pair;
        s->token[open].pair = i;
        open = around;
    }
    for (int around; open >= 0; open = around) {
        around = s->token[open].pair;
        s->token[open].pair = s->n;
    }
}

static int by_name(const void *a_, const void *b_)
{
    const struct definition *a = a_, *b = b_;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    int order = memcmp(a->name, b->name, (size_t)a->length);
    return order ? order : (a->table > b->table) - (a->table < b->table);
}

static void find_definitions(struct source *s)
{
    for (int pass = 0; pass < 2; pass++) {
        int n = 0;
        for (int i = 0; i + 2 < s->n; i++) {
            if (s->token[i].kind != TOKEN_NAME || !is_sign(s, i + 1, '=') || !is_sign(s, i + 2, '{')) continue;
            if (pass) s->definition[n] = (struct definition){ s->token[i].at, s->token[i].length, i + 2 };
            n++;
        }
        if (!pass) s->definition = arena_alloc(s->arena, ((size_t)n + 1) * sizeof *s->definition);
        s->n_definitions = n;
    }
    qsort(s->definition, (size_t)s->n_definitions, sizeof *s->definition, by_name);
}

static void read_tokens(struct source *s)
{
    if (s->token) return;
    s->n = cut(s->text, NULL);
    s->token = arena_alloc(s->arena, ((size_t)s->n + 1) * sizeof *s->token);
    cut(s->text, s->token);
    pair_up(s);
    find_definitions(s);
}

/* The table that an expression is: written here, or as `name = {` further up. -1: neither. */
static int table_of(const struct source *s, int i)
{
    if (is_sign(s, i, '{')) return i;
    if (i >= s->n || s->token[i].kind != TOKEN_NAME) return -1;
    struct definition wanted = { s->token[i].at, s->token[i].length, -1 };
    int low = 0, high = s->n_definitions;
    while (low < high) {                                    /* the first of that name */
        int middle = low + (high - low) / 2;
        if (by_name(&s->definition[middle], &wanted) < 0) low = middle + 1; else high = middle;
    }
    const struct definition *d = &s->definition[low];
    bool found = low < s->n_definitions && d->length == wanted.length &&
                 memcmp(d->name, wanted.name, (size_t)d->length) == 0;
    return found && d->table < i ? d->table : -1;
}

/* Characters of `path` that the key takes up, its dot included: 0 when it is not the beginning of the path. */
static size_t key_part(const struct token *key, const char *path)
{
    size_t length = (size_t)key->length;
    if (length == 0 || strncmp(key->at, path, length) != 0) return 0;
    return path[length] == 0 ? length : path[length] == '.' ? length + 1 : 0;
}

static int parts(const char *path, size_t length)
{
    int n = 0;
    for (size_t i = 0; i < length; i++) n += path[i] == '.';
    return n;
}

/* The most of the path that keys in reach write out, and where. */
struct search { struct source *source; const char *path; size_t best; int line; };

/* Whether the table was looked into for this part before: what it leads to is then known. */
static bool is_known(const struct search *f, int open, size_t at)
{
    struct token *t = &f->source->token[open];
    uint64_t part = (uint64_t)1 << parts(f->path, at);
    if (t->query != f->source->queries) t->seen = 0;
    t->query = f->source->queries;
    bool known = t->seen & part;
    t->seen |= part;
    return known;
}

/* Descends into the table at `open` for what follows path[at]. */
static void find_in(struct search *f, int open, size_t at, int depth)
{
    const struct source *s = f->source;
    const char *path = f->path + at;
    if (depth > DEEPEST || is_known(f, open, at)) return;
    for (int i = open + 1; i < s->token[open].pair; i++) {
        bool first = is_sign(s, i - 1, '{') || is_sign(s, i - 1, ',') || is_sign(s, i - 1, ';');
        int key = -1, value = i;
        if (first && s->token[i].kind == TOKEN_NAME && is_sign(s, i + 1, '=')) { key = i; value = i + 2; }
        if (first && is_sign(s, i, '[') && i + 1 < s->n && s->token[i + 1].kind == TOKEN_STRING &&
            is_sign(s, i + 3, '=')) {
            key = i + 1;
            value = i + 4;
        }
        size_t part = key < 0 ? 0 : key_part(&s->token[key], path);
        int table = part && path[part] ? table_of(s, value) : -1;
        if (part && at + part > f->best) { f->best = at + part; f->line = s->token[key].line; }
        if (table >= 0) find_in(f, table, at + part, depth + 1);
        if (first && is_sign(s, i, '{')) {                  /* a module in a list: { "bias", gamma = 1 } */
            size_t name = strcspn(path, ".");
            bool named = path[name] && is_text(s, i + 1, TOKEN_STRING, path, name);
            find_in(f, i, named ? at + name + 1 : at, depth + 1);
        }
        if (is_sign(s, i, '{') || is_sign(s, i, '(') || (is_sign(s, i, '[') && key < 0)) i = s->token[i].pair;
        else if (key >= 0) i = value - 1;
    }
}

/* The first token at or after a line. */
static int token_at(const struct source *s, int line)
{
    int low = 0, high = s->n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (s->token[middle].line < line) low = middle + 1; else high = middle;
    }
    return low;
}

/* The table that a call is given, of which token[i] is the function's name: sl.model { ... }, or the last one of
   sl.extend(sl.model { ... }, changes). Where no name is found, what stands next. */
static int table_of_call(const struct source *s, int i)
{
    if (!is_sign(s, i + 1, '(')) {
        while (i < s->n && !is_sign(s, i, '{')) i++;
        return i < s->n ? i : -1;
    }
    int end = s->token[i + 1].pair, table = table_of(s, end - 1);
    for (int k = i + 2; k < end; k++) {
        if (is_sign(s, k, '{')) table = k;
        if (is_sign(s, k, '{') || is_sign(s, k, '(') || is_sign(s, k, '[')) k = s->token[k].pair;
    }
    return table;
}

size_t source_key(struct source *s, const char *function, int line, const char *path, int *found)
{
    size_t length = strlen(path);
    struct search f = { .source = s, .path = path };
    if (length > PATH_MAX_LENGTH || parts(path, length) >= PARTS_MAX) return 0;     /* no key is as long */
    read_tokens(s);
    s->queries++;
    int begin = token_at(s, line), i = begin;
    while (i < s->n && !is_text(s, i, TOKEN_NAME, function, strlen(function))) i++;
    int table = table_of_call(s, i < s->n ? i : begin);
    if (table >= 0) find_in(&f, table, 0, 0);
    if (f.best) *found = f.line;
    return f.best;
}

int source_string(struct source *s, int line, const char *path)
{
    read_tokens(s);
    size_t length = strlen(path);
    for (int i = token_at(s, line); i < s->n; i++)
        if (!is_sign(s, i - 1, '[') && is_text(s, i, TOKEN_STRING, path, length)) return s->token[i].line;
    return 0;
}
