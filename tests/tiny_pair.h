/* Two tiny models that say the same, or do not: their logits, compared. */
#ifndef SLUICE_TINY_PAIR_H
#define SLUICE_TINY_PAIR_H

#include "tiny.h"

static inline void check_equal(const double *a, const double *b, int64_t n)
{
    assert_memory_equal(a, b, (size_t)n * sizeof *a);
}
static inline bool equal_rows(const double *a, const double *b, int64_t width, int row)
{
    return memcmp(a + row * width, b + row * width, (size_t)width * sizeof *a) == 0;
}

static inline void check_near(const double *a, const double *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance * fmax(1, fabs(a[i]))))
            fail_msg("value %lld: %.9g and %.9g", (long long)i, a[i], b[i]);
}

static inline double distance(const double *a, const double *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

/* Logits [T,V] of a whole sequence, malloc'd: the decoding graph with one chunk. */
static inline double *logits_of(struct tiny *t)
{
    tiny_forward(t);
    return tiny_read(t, t->logits);
}

static inline struct tiny decoder(const char *sets)
{
    struct tiny t = tiny_new(sets, NULL, MODE_DECODE, 2, 6);
    tiny_start(&t, 1);
    return t;
}

/* A token at a time says what all at once do. whole: of decoder(sets). */
static inline void decoded_alike(struct tiny *whole, const char *sets)
{
    struct tiny last = { 0 };
    double *all = logits_of(whole);
    int v = whole->model.vocab, seq = whole->seq;
    for (int at = 0; at < seq; at++) {
        struct tiny one = tiny_new(sets, NULL, MODE_DECODE, 2, 1);
        tiny_start(&one, 1);
        if (at) {
            tiny_copy(&one, &last);
            tiny_free(&last);
        }
        *one.pos = at;
        for (int b = 0; b < 2; b++) one.ids[b] = whole->ids[b * seq + at];
        double *some = logits_of(&one);
        for (int b = 0; b < 2; b++) check_near(some + b * v, all + (b * seq + at) * v, v, 1e-5);
        free(some);
        last = one;
    }
    tiny_free(&last);
    free(all);
}

static inline int64_t logits_count(const struct tiny *t) { return (int64_t)t->tokens * t->model.vocab; }

/* Two models with the weights that they share, and what they say to the same tokens. */
struct pair { struct tiny a, b; double *x, *y; int64_t n; };

static inline struct pair pair_new(const char *a, const char *b)
{
    struct pair p = { decoder(a), decoder(b), NULL, NULL, 0 };
    p.n = logits_count(&p.a);
    return p;
}

static inline void pair_run(struct pair *p)
{
    free(p->x);
    free(p->y);
    p->x = logits_of(&p->a);
    p->y = logits_of(&p->b);
}

static inline void pair_free(struct pair *p)
{
    free(p->x);
    free(p->y);
    tiny_free(&p->a);
    tiny_free(&p->b);
}

static inline int other_token(const struct tiny *t, int id) { return (id + 1) % t->model.vocab; }

/* Another token 1 is seen by rows 1 to `last`, and by no other. */
static inline void check_reach(const char *sets, int last)
{
    struct tiny t = decoder(sets);
    double *before = logits_of(&t);
    t.ids[1] = other_token(&t, t.ids[1]);
    double *after = logits_of(&t);
    for (int row = 0; row < t.seq; row++)
        assert_int_equal(equal_rows(before, after, t.model.vocab, row), row < 1 || row > last);
    free(before);
    free(after);
    tiny_free(&t);
}

#define RUN(name) cmocka_unit_test(test_##name)

#endif
