/* Reading what ops say of themselves. */
#include "signature.h"
#include "ops.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX(name, signature) const int index_of_##name = OP_##name;
OPS(INDEX)
#define ADDRESS(name, signature) &op_##name,
const struct op *const op_all[] = { OPS(ADDRESS) NULL };

const char *const dtype_name[] = { [DTYPE_ACT] = "ACT", [DTYPE_REAL] = "REAL", [DTYPE_I32] = "I32",
                                          [DTYPE_U8] = "U8" };

/* ---- values ---- */

/* What stands in [from, to) of a text, cut to `size`. */
static void cut(char *out, size_t size, const char *from, const char *to)
{
    size_t n = (size_t)(to - from) < size ? (size_t)(to - from) : size - 1;
    memset(out, 0, size);
    memcpy(out, from, n);
}

static const char *value_read(const char *at, struct op_value *out)
{
    const char *end = at + strcspn(at, " "), *name = at + strcspn(at, "?*.:[ ");
    *out = (struct op_value){ .optional = false };
    cut(out->name, sizeof out->name, at, name);
    for (at = name; at < end && strchr("?*.", *at); at++) {
        out->optional |= *at == '?';
        out->changed |= *at == '*';
        out->many |= *at == '.';
    }
    if (at < end && *at == ':') {
        const char *dtype = at + 1;
        at = dtype + strcspn(dtype, "[ ");
        cut(out->dtype, sizeof out->dtype, dtype, at);
    }
    if (at < end && *at == '[') cut(out->shape, sizeof out->shape, at + 1, end - 1);
    return end + (*end == ' ');
}

static bool value_at(const char *text, int i, struct op_value *out)
{
    for (const char *at = text ? text : ""; *at; i--) {
        at = value_read(at, out);
        out->number = i;
        if (i == 0 || out->many) return true;
    }
    *out = (struct op_value){ .optional = false };
    return false;
}

bool op_input(const struct op *op, int i, struct op_value *out) { return value_at(op->inputs, i, out); }
bool op_output(const struct op *op, int i, struct op_value *out) { return value_at(op->outputs, i, out); }

/* ---- shapes ---- */

/* The extents of one shape as they are written: "E+1", ".."; returns how many, and how many of them are "..". */
enum { WORDS = 8 };
static int words_of(const char *shape, const char *end, char word[WORDS][8], bool *rest)
{
    int n = 0;
    *rest = false;
    for (; shape < end && n < WORDS; n++) {
        const char *to = shape;
        while (to < end && *to != ',') to++;
        cut(word[n], sizeof word[n], shape, to);
        *rest |= strcmp(word[n], "..") == 0;
        shape = to + (to < end);
    }
    return n;
}

/* An extent against its word; learns a letter. */
static bool extent_fits(struct extents *x, const char *word, const char *name, int64_t extent, struct err *e)
{
    unsigned char letter = (unsigned char)word[0];
    int64_t more = word[1] == '+' ? atoi(word + 2) : 0;
    if (letter == '_') return true;
    if (isdigit(letter)) return extent == atoi(word);
    if (!x->letter[letter]) {
        x->letter[letter] = extent - more;
        snprintf(x->of[letter], sizeof x->of[letter], "%s", name);
        return true;
    }
    if (x->letter[letter] + more == extent) return true;
    err_set(e, "%s is %lld in '%s', not %lld", word, (long long)(x->letter[letter] + more), x->of[letter],
            (long long)extent);
    return false;
}

/* The extents for which ".." stands. */
static bool rest_fits(struct extents *x, const char *name, const int64_t *dim, int rank, struct err *e)
{
    char now[64], there[64];
    struct shape rest = { .rank = rank };
    for (int i = 0; i < SHAPE_RANK; i++) rest.dim[i] = i < rank ? dim[i] : 0;
    if (!x->has_rest) {
        x->rest = rest;
        x->has_rest = true;
        snprintf(x->of['.'], sizeof x->of['.'], "%s", name);
        return true;
    }
    if (shape_equal(x->rest, rest)) return true;
    err_set(e, ".. is %s in '%s', not %s", shape_text(x->rest, there), x->of['.'], shape_text(rest, now));
    return false;
}

/* All tokens are those of the sequences, where both are named. */
static bool tokens_fit(const struct extents *x, struct err *e)
{
    int64_t b = x->letter['B'], s = x->letter['S'], t = x->letter['T'];
    if (!b || !s || !t || t == b * s) return true;
    err_set(e, "T is %lld in '%s', B S is %lld", (long long)t, x->of['T'], (long long)(b * s));
    return false;
}

static bool shape_fits(struct extents *x, const char *name, const char *at, const char *end, struct shape shape,
                       struct err *e)
{
    char word[WORDS][8];
    bool rest;
    int n = words_of(at, end, word, &rest), k = 0, open = shape.rank - (n - rest);
    for (int i = 0; i < n; i++) {
        if (strcmp(word[i], "..") == 0) {
            if (!rest_fits(x, name, shape.dim + k, open, e)) return false;
            k += open;
        } else if (!extent_fits(x, word[i], name, shape.dim[k++], e)) return false;
    }
    return tokens_fit(x, e);
}

/* The first of the shapes between bars that has this rank. */
static const char *shape_of_rank(const char *at, int rank, const char **end)
{
    char word[WORDS][8];
    bool rest;
    for (;; at = *end + 1) {
        *end = at + strcspn(at, "|");
        int n = words_of(at, *end, word, &rest);
        if (rest ? n - 1 <= rank : n == rank) return at;
        if (**end == 0) return NULL;
    }
}

/* What a value may be, by what its text says. */
static const char *dtypes_of(const char *said)
{
    return *said == 0 ? "ACT|REAL" : strcmp(said, "ANY") == 0 ? "ACT|REAL|I32" : said;
}

/* A text with words in place of its bars: "ACT|REAL" is "ACT or REAL". */
enum { SPELT = 160 };
static const char *spell(char out[SPELT], const char *text, const char *bar)
{
    size_t n = 0;
    for (; *text && n < SPELT; text++)
        n += (size_t)(*text == '|' ? snprintf(out + n, SPELT - n, "%s", bar)
                                   : snprintf(out + n, SPELT - n, "%c", *text));
    return out;
}

int op_fits(struct extents *x, const struct op_value *value, struct decl decl, struct err *e)
{
    char name[24], is[64], needed[SPELT];
    struct err why = { "" };
    if (value->many) snprintf(name, sizeof name, "%s[%d]", value->name, value->number);
    else snprintf(name, sizeof name, "%s", value->name);
    const char *dtypes = dtypes_of(value->dtype), *dtype = dtype_name[decl.dtype];
    if (!strstr(dtypes, dtype))
        return err_set(e, "'%s' is %s, %s is needed", name, dtype, spell(needed, dtypes, " or "));
    if (!*value->shape) return 0;
    const char *end, *at = shape_of_rank(value->shape, decl.shape.rank, &end);
    if (at && shape_fits(x, name, at, end, decl.shape, &why)) return 0;
    return err_set(e, "'%s' is %s, [%s] is needed%s%s", name, shape_text(decl.shape, is),
                   spell(needed, value->shape, "] or ["), *why.text ? ": " : "", why.text);
}

/* ---- attributes ---- */

static int64_t whole_get(const struct param *p, const void *attr)
{
    const char *at = (const char *)attr + p->offset;
    return p->size == sizeof(int) ? *(const int *)at : *(const int64_t *)at;
}

static void whole_set(const struct param *p, void *attr, int64_t value)
{
    if (p->size == sizeof(int)) *(int *)((char *)attr + p->offset) = (int)value;
    else *(int64_t *)((char *)attr + p->offset) = value;
}

static int words_count(const char *words)
{
    int n = 0, length;
    while (param_word(words, n, &length)) n++;
    return n;
}

static int bound_break(const struct param *p, double value, double least, double most, struct err *e)
{
    if (p->type == PARAM_CHOICE) return err_set(e, "%s must be one of: %s", p->name, p->choices);
    if (isnan(value)) return err_set(e, "%s is no number", p->name);
    if (value < least && least == ABOVE_0) return err_set(e, "%s = %.10g, it must be above 0", p->name, value);
    if (most < INT32_MAX) return err_set(e, "%s = %.10g, it must be %.10g to %.10g", p->name, value, least, most);
    if (value < least) return err_set(e, "%s = %.10g, it must be at least %.10g", p->name, value, least);
    return err_set(e, "%s = %.10g, it must be at most %.10g", p->name, value, most);
}

int op_knows(const struct op *op, const void *attr, struct err *e)
{
    for (const struct param *p = op->attributes; p && p->name; p++) {
        double least = p->min, most = p->type == PARAM_CHOICE ? words_count(p->choices) - 1 : p->max;
        double value = p->type == PARAM_REAL ? *(const double *)((const char *)attr + p->offset)
                                             : (double)whole_get(p, attr);
        if (!(value >= least && value <= most)) return bound_break(p, value, least, most, e);
    }
    return 0;
}

/* ---- calls by name ---- */

static const struct op *op_find(const char *name)
{
    for (int i = 0; op_all[i]; i++) if (strcmp(op_all[i]->name, name) == 0) return op_all[i];
    return NULL;
}

static int choice_find(const char *words, const char *word)
{
    int length;
    const char *at;
    for (int i = 0; (at = param_word(words, i, &length)); i++)
        if ((size_t)length == strlen(word) && memcmp(at, word, (size_t)length) == 0) return i;
    return -1;
}

/* One attribute, or its default where nothing is given. */
static int attribute_set(const struct param *p, const struct named *v, void *attr, struct err *e)
{
    bool whole = p->type == PARAM_INT || p->type == PARAM_BOOL || p->type == PARAM_CHOICE;
    if (!v && isnan(p->value)) return err_set(e, "'%s' is missing", p->name);
    if (!v) {
        if (whole) whole_set(p, attr, (int64_t)p->value);
        else *(double *)((char *)attr + p->offset) = p->value;
        return 0;
    }
    double number = v->kind == GIVEN_REAL ? v->real : (double)v->integer;
    int choice = p->type == PARAM_CHOICE && v->kind == GIVEN_WORD ? choice_find(p->choices, v->word) : 0;
    if (p->type == PARAM_CHOICE && (v->kind != GIVEN_WORD || choice < 0))
        return err_set(e, "'%s' must be one of: %s", p->name, p->choices);
    if (p->type == PARAM_BOOL && v->kind != GIVEN_BOOL) return err_set(e, "'%s' must be true or false", p->name);
    if (p->type == PARAM_INT && v->kind != GIVEN_INT) return err_set(e, "'%s' must be an integer", p->name);
    if (p->type == PARAM_REAL && v->kind != GIVEN_INT && v->kind != GIVEN_REAL)
        return err_set(e, "'%s' must be a number", p->name);
    if (p->type == PARAM_CHOICE) whole_set(p, attr, choice);
    else if (whole) whole_set(p, attr, v->integer);
    else *(double *)((char *)attr + p->offset) = number;
    return 0;
}

static const struct named *given_find(int n, const struct named *given, const char *name)
{
    for (int i = 0; i < n; i++) if (strcmp(given[i].name, name) == 0) return &given[i];
    return NULL;
}

/* Every name that is given must be one of the op's. */
enum { NAMES = 24 };
static int names_check(const struct op *op, int n, const struct named *given, struct err *e)
{
    struct op_value in[NAMES];
    const char *names[2 * NAMES + 1];
    int known = 0;
    for (int i = 0; i < NAMES && op_input(op, i, &in[i]); i++) {
        names[known++] = in[i].name;
        if (in[i].many) break;
    }
    for (const struct param *p = op->attributes; p && p->name && known < 2 * NAMES; p++) names[known++] = p->name;
    names[known] = NULL;
    for (int i = 0; i < n; i++) {
        int k = 0;
        char hint[HINT];
        while (names[k] && strcmp(names[k], given[i].name) != 0) k++;
        if (!names[k])
            return err_set(e, "no input or attribute '%s'%s", given[i].name,
                           did_you_mean(nearest_name(given[i].name, names), hint));
    }
    return 0;
}

struct node *graph_call(struct graph *g, const char *name, int n, const struct named *given)
{
    if (g->failed) return g->poison;
    const struct op *op = op_find(name);
    if (!op) {
        const char *names[OP_COUNT + 1] = { NULL };
        char hint[HINT];
        for (int i = 0; i < OP_COUNT; i++) names[i] = op_all[i]->name;
        return graph_fail(g, "%s: no op '%s'%s", g->path, name, did_you_mean(nearest_name(name, names), hint));
    }
    struct err e;
    struct op_value in;
    int count = 0;
    struct node *inputs[NAMES] = { NULL }, *const *all = inputs;
    void *attr = arena_alloc(g->arena, op->attr_size + 1);
    if (names_check(op, n, given, &e) != 0) return graph_fail(g, "%s: %s: %s", g->path, name, e.text);
    for (; count < NAMES && op_input(op, count, &in); count++) {
        const struct named *v = given_find(n, given, in.name);
        if (v && v->kind != GIVEN_NODE) return graph_fail(g, "%s: %s: '%s' must be a node", g->path, name, in.name);
        if (v && in.many) {
            all = v->nodes;
            count = v->n;
            break;
        }
        inputs[count] = v ? v->nodes[0] : NULL;
    }
    for (const struct param *p = op->attributes; p && p->name; p++)
        if (attribute_set(p, given_find(n, given, p->name), attr, &e) != 0)
            return graph_fail(g, "%s: %s: %s", g->path, name, e.text);
    return graph_emit_n(g, op, attr, count, all);
}
