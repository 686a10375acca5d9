/* Where a key is written in the text of a script: the text's tokens and its table constructors, nothing evaluated. */
#include "locate.h"
#include <ctype.h>
#include <string.h>

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
    for (; *c && *c != quote && *c != '\n'; c++) if (*c == '\\' && c[1]) c++;
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
        *t = (struct token){ TOKEN_STRING, c + opening, (int)(end - c) - 2 * opening, 0 };
        if (t->length < 0) t->length = 0;                   /* unfinished */
    } else if (*c == '"' || *c == '\'') {
        end = short_end(c);
        *t = (struct token){ TOKEN_STRING, c + 1, (int)(end - c) - 2, 0 };
    } else if (is_word(*c)) {
        while (is_word(*end)) end++;
        *t = (struct token){ isdigit((unsigned char)*c) ? TOKEN_OTHER : TOKEN_NAME, c, (int)(end - c), 0 };
    } else {
        bool two = c[1] == '=' && strchr("=~<>", *c);       /* "==" is no "=" */
        end = c + 1 + two;
        *t = (struct token){ two ? TOKEN_OTHER : TOKEN_SIGN, c, 1, 0 };
    }
    return end;
}

struct source source_read(struct arena *arena, const char *path, const char *text)
{
    struct source s = { path, text, 0, arena_alloc(arena, (strlen(text) + 1) * sizeof(struct token)) };
    int line = 1;
    for (const char *c = text, *next; *c; c = next) {
        bool space = isspace((unsigned char)*c), comment = c[0] == '-' && c[1] == '-';
        if (space) next = c + 1;
        else if (comment) next = comment_end(c);
        else next = read_token(c, &s.token[s.n]);
        if (!space && !comment) s.token[s.n++].line = line;
        for (; c < next; c++) line += *c == '\n';
    }
    return s;
}

static bool is_sign(const struct source *s, int i, char sign)
{
    return i >= 0 && i < s->n && s->token[i].kind == TOKEN_SIGN && *s->token[i].at == sign;
}

static bool is_text(const struct source *s, int i, enum token_kind kind, const char *text, size_t length)
{
    return i >= 0 && i < s->n && s->token[i].kind == kind && (size_t)s->token[i].length == length && memcmp(s->token[i].at, text, length) == 0;
}

/* Index of the bracket that closes the one at `open`. */
static int closing(const struct source *s, int open)
{
    int depth = 0, i = open;
    for (; i < s->n; i++) {
        if (is_sign(s, i, '{') || is_sign(s, i, '(') || is_sign(s, i, '[')) depth++;
        if (is_sign(s, i, '}') || is_sign(s, i, ')') || is_sign(s, i, ']')) depth--;
        if (depth == 0) break;
    }
    return i;
}

/* The table that an expression is: written here, or as `local name = {` elsewhere. -1: neither. */
static int table_of(const struct source *s, int i)
{
    if (is_sign(s, i, '{')) return i;
    if (i >= s->n || s->token[i].kind != TOKEN_NAME) return -1;
    for (int k = 0; k + 2 < i; k++)
        if (is_text(s, k, TOKEN_NAME, s->token[i].at, (size_t)s->token[i].length) && is_sign(s, k + 1, '=') && is_sign(s, k + 2, '{')) return k + 2;
    return -1;
}

/* Characters of `path` that the key takes up, its dot included: 0 when it is not the beginning of the path. */
static size_t key_part(struct token key, const char *path)
{
    size_t length = (size_t)key.length;
    if (length == 0 || strncmp(key.at, path, length) != 0) return 0;
    return path[length] == 0 ? length : path[length] == '.' ? length + 1 : 0;
}

/* Descends into the table at `open`; recursion ends because the path gets shorter or the table nests deeper. */
static size_t find_in(const struct source *s, int open, const char *path, int *found, int depth)
{
    size_t best = 0;
    int end = closing(s, open);
    if (depth > 32) return 0;
    for (int i = open + 1; i < end; i++) {
        bool first = is_sign(s, i - 1, '{') || is_sign(s, i - 1, ',') || is_sign(s, i - 1, ';');
        int key = -1, value = i;
        if (first && s->token[i].kind == TOKEN_NAME && is_sign(s, i + 1, '=')) { key = i; value = i + 2; }
        if (first && is_sign(s, i, '[') && i + 1 < s->n && s->token[i + 1].kind == TOKEN_STRING && is_sign(s, i + 3, '=')) { key = i + 1; value = i + 4; }
        size_t part = key < 0 ? 0 : key_part(s->token[key], path), inner = 0;
        int line = key < 0 ? 0 : s->token[key].line, table = part && path[part] ? table_of(s, value) : -1;
        if (table >= 0) inner = find_in(s, table, path + part, &line, depth + 1);
        if (first && is_sign(s, i, '{')) {                  /* a module in a list: { "bias", gamma = 1 } */
            size_t name = strcspn(path, ".");
            bool named = path[name] && is_text(s, i + 1, TOKEN_STRING, path, name);
            inner = find_in(s, i, named ? path + name + 1 : path, &line, depth + 1);
            part = inner && named ? name + 1 : 0;
        }
        if (part + inner > best) { best = part + inner; *found = line; }
        if (is_sign(s, i, '{') || is_sign(s, i, '(') || (is_sign(s, i, '[') && key < 0)) i = closing(s, i);
        else if (key >= 0) i = value - 1;
    }
    return best;
}

size_t source_key(const struct source *s, const char *function, int line, const char *path, int *found)
{
    int i = 0, call = -1;
    while (i < s->n && s->token[i].line < line) i++;
    for (int k = i; k < s->n && call < 0; k++) if (is_text(s, k, TOKEN_NAME, function, strlen(function))) call = k;
    for (i = call < 0 ? i : call; i < s->n; i++) if (is_sign(s, i, '{')) return find_in(s, i, path, found, 0);
    return 0;
}

int source_string(const struct source *s, int line, const char *path)
{
    for (int i = 0; i < s->n; i++)
        if (s->token[i].line >= line && !is_sign(s, i - 1, '[') && is_text(s, i, TOKEN_STRING, path, strlen(path))) return s->token[i].line;
    return 0;
}
