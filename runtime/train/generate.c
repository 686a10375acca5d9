/* Which token comes next: penalties, temperature, the largest, the likeliest, softmax, a draw, as Hugging Face and vLLM
   order them; and when a text has ended. */
#include "generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct filter generate_plain = { .repetition = 1, .temperature = 1, .top_p = 1 };
const char *const ending_name[] = { "", "tokens", "context", "eos", "stop", NULL };

/* ---- chances ---- */

static void penalise(const struct filter *f, int64_t vocab, const struct text *t, double *z)
{
    int64_t *drawn = xcalloc((size_t)vocab, sizeof *drawn);
    bool *there = xcalloc((size_t)vocab, sizeof *there);
    for (int64_t i = 0; i < t->n; i++) {
        there[t->ids[i]] = true;
        drawn[t->ids[i]] += i >= t->prompt;
    }
    for (int64_t v = 0; v < vocab; v++) {
        if (there[v]) z[v] = z[v] > 0 ? z[v] / f->repetition : z[v] * f->repetition;
        if (drawn[v]) z[v] -= f->frequency * (double)drawn[v] + f->presence;
    }
    free(there);
    free(drawn);
}

struct candidate { double z; int32_t id; };

static int larger_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->z != y->z ? (x->z < y->z) - (x->z > y->z) : (x->id > y->id) - (x->id < y->id);
}

/* Of candidates in order as few as have a share of what all weigh. */
static int64_t likeliest(const struct candidate *c, int64_t n, double share)
{
    double all = 0, some = 0;
    int64_t kept = 0;
    if (share >= 1) return n;
    for (int64_t i = 0; i < n; i++) all += exp(c[i].z - c[0].z);
    while (kept < n && (kept == 0 || some < share * all)) some += exp(c[kept++].z - c[0].z);
    return kept;
}

/* Leaves the largest logits alone; the rest become -inf. */
static void keep_largest(const struct filter *f, int64_t vocab, double *z)
{
    struct candidate *c = xmalloc((size_t)vocab * sizeof *c);
    int64_t n = 0;
    for (int64_t v = 0; v < vocab; v++) if (z[v] > -HUGE_VAL) c[n++] = (struct candidate){ z[v], (int32_t)v };
    qsort(c, (size_t)n, sizeof *c, larger_first);
    int64_t kept = f->temperature == 0 ? 1 : f->top_k && f->top_k < n ? f->top_k : n;
    for (int64_t i = likeliest(c, kept, f->top_p); i < n; i++) z[c[i].id] = -HUGE_VAL;
    free(c);
}

void generate_chances(const struct filter *f, const real *logits, int64_t vocab, const struct text *t, double *chance)
{
    double *z = chance, most = -HUGE_VAL, all = 0;
    for (int64_t v = 0; v < vocab; v++) z[v] = f->forbidden && f->forbidden[v] ? -HUGE_VAL : (double)logits[v];
    if (f->repetition != 1 || f->frequency != 0 || f->presence != 0) penalise(f, vocab, t, z);
    if (f->temperature > 0) for (int64_t v = 0; v < vocab; v++) z[v] /= f->temperature;
    if (f->temperature == 0 || f->top_k || f->top_p < 1) keep_largest(f, vocab, z);
    for (int64_t v = 0; v < vocab; v++) most = fmax(most, z[v]);
    INVARIANT(most > -HUGE_VAL, "no token of %lld may be drawn", (long long)vocab);
    for (int64_t v = 0; v < vocab; v++) {
        chance[v] = exp(z[v] - most);
        if (chance[v] < f->min_p) chance[v] = 0;
        all += chance[v];
    }
    for (int64_t v = 0; v < vocab; v++) chance[v] /= all;
}

/* ---- draws ---- */

double generate_lot(const struct text *t, int64_t position, enum lot lot)
{
    struct key key = { t->seed, PURPOSE_SAMPLE, hash_name("decode"), t->number };
    return key_uniform(key, (uint64_t)(LOT_COUNT * position) + lot);
}

int32_t generate_pick(const double *chance, int64_t vocab, double u)
{
    double all = 0, some = 0;
    int32_t last = -1;
    for (int64_t v = 0; v < vocab; v++) all += chance[v];
    for (int64_t v = 0; v < vocab; v++) {
        if (chance[v] <= 0) continue;
        last = (int32_t)v;
        some += chance[v];
        if (some > u * all) break;
    }
    return last;
}

/* ---- ends ---- */

/* Whether the first `length` bytes of a string are the text's last tokens, none of the prompt's. */
static bool ends_with(const struct text *t, const char *string, int64_t length)
{
    if (length > t->n - t->prompt) return false;
    for (int64_t i = 0; i < length; i++)
        if (t->ids[t->n - length + i] != (unsigned char)string[i]) return false;
    return true;
}

/* The longest of the strings that ends the text: its length; 0: none does. */
static int64_t stop_of(const struct text *t, const struct limits *l)
{
    int64_t longest = 0;
    for (const char *const *s = l->stop; s && *s; s++) {
        int64_t length = (int64_t)strlen(*s);
        if (length > longest && ends_with(t, *s, length)) longest = length;
    }
    return longest;
}

int64_t generate_most(const struct text *t, const struct limits *l)
{
    return l->context - t->prompt < l->tokens ? l->context : t->prompt + l->tokens;
}

bool generate_add(struct text *t, int32_t token, const struct limits *l)
{
    t->ids[t->n++] = token;
    int64_t cut = stop_of(t, l);
    if (token == l->eos) t->ending = ENDING_EOS;
    else if (cut) t->ending = ENDING_STOP;
    else if (t->n - t->prompt >= l->tokens) t->ending = ENDING_TOKENS;
    else if (t->n >= l->context) t->ending = ENDING_CONTEXT;
    t->kept = t->n - (token == l->eos ? 1 : cut);
    return t->ending == ENDING_NONE;
}

/* Bytes at the end of a text that begin a character and lack some of it. */
static int64_t unfinished(const struct text *t)
{
    for (int64_t back = 1; back <= 3 && back <= t->n - t->prompt; back++) {
        int32_t byte = t->ids[t->n - back];
        if (byte >= 0xc0) return byte < 0xf8 && back < (byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4) ? back : 0;
        if (byte < 0x80) return 0;
    }
    return 0;
}

int64_t generate_held(const struct text *t, const struct limits *l)
{
    if (t->ending != ENDING_NONE) return t->n - t->kept;
    int64_t held = unfinished(t);
    for (const char *const *s = l->stop; s && *s; s++)
        for (int64_t n = (int64_t)strlen(*s) - 1; n > held; n--)
            if (ends_with(t, *s, n)) held = n;
    return held;
}
