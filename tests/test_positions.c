/* How queries and keys know where they are: pairings, stretched contexts, temperatures, learned logits of distance. */
#include "op_check.h"
#include "tiny_pair.h"

static int32_t zero(int64_t i) { (void)i; return 0; }

#define HERE(CASE) \
    CASE(rope, golden, rope(g, real_in(g, 2, 1, 4), int_in(g, SHAPE(1, 2), 0, 0), NULL, \
                            ROPE(4, FIRST, 1e4, .interleaved = 1))) \
    CASE(rope, halves, rope(g, act_in(g, 40, 2, 10), count_in(g, SHAPE(1, 40), zero), NULL, ROPE(8, LAST, 1e4))) \
    CASE(rope, neighbours, rope(g, act_in(g, 40, 2, 10), count_in(g, SHAPE(1, 40), zero), NULL, \
                                ROPE(8, LAST, 1e4, .interleaved = 1))) \
    CASE(rope, linear, rope(g, act_in(g, 40, 1, 8), count_in(g, SHAPE(1, 40), zero), NULL, \
                            STRETCHED(8, FIRST, 1e4, 4, 0, 0, 1))) \
    CASE(rope, usual, rope(g, act_in(g, 40, 1, 8), count_in(g, SHAPE(1, 40), zero), NULL, ROPE(8, FIRST, 1e4))) \
    CASE(rope, partly, rope(g, real_in(g, 2, 1, 8), int_in(g, SHAPE(1, 2), 0, 0), NULL, \
                            STRETCHED(8, FIRST, 1e4, 4, 1, 3, 1.5))) \
    CASE(positions, llama, positions(g, int_in(g, SHAPE(1, 1), 0), int_in(g, SHAPE(1), 16383), 8192, true)) \
    CASE(positions, before, positions(g, int_in(g, SHAPE(1, 1), 0), int_in(g, SHAPE(1), 8190), 8192, true)) \
    CASE(positions, documents, positions(g, int_in(g, SHAPE(2, 3), 0, 0, 2, 0, 1, 1), NULL, 2, false))
HERE(BENCH_BUILD)

/* Head 0 as it came, head 0 with the second half interleaved into the first. */
static int neighbour_of(int half) { return half < 4 ? 2 * half : 2 * (half - 4) + 1; }

static void test_neighbours(void **state)
{
    (void)state;
    OPEN(b, rope, golden);
    PUT(b, 0, 1, 2, 3, 4, 1, 2, 3, 4);
    bench_forward(&b);
    SEE(b.out[0], 1e-6, 1, 2, 3, 4, -1.14264, 1.922076, 2.959851, 4.0298);
    bench_close(&b);
    OPEN(halves, rope, halves);                             /* A11d: the same but for an order */
    OPEN(pairs, rope, neighbours);
    for (int64_t row = 0; row < 80; row++)
        for (int i = 0; i < 10; i++)
            tensor_set(&pairs.in[0], row * 10 + (i < 2 ? i : 2 + neighbour_of(i - 2)),
                       tensor_get(&halves.in[0], row * 10 + i));
    bench_forward(&halves), bench_forward(&pairs);
    for (int64_t row = 0; row < 80; row++)
        for (int i = 0; i < 10; i++)
            assert_true(tensor_get(&pairs.out[0], row * 10 + (i < 2 ? i : 2 + neighbour_of(i - 2))) ==
                        tensor_get(&halves.out[0], row * 10 + i));
    bench_close(&halves), bench_close(&pairs);
}

/* Position 4 p of a context four times as long is p; of pairs 0 to 3, bounds 1 and 3, the middle one is between. */
static void test_stretched(void **state)
{
    (void)state;
    OPEN(longer, rope, linear);
    OPEN(usual, rope, usual);
    for (int64_t i = 0; i < 320; i++) tensor_set(&longer.in[0], i, i % 8), tensor_set(&usual.in[0], i, i % 8);
    bench_forward(&longer), bench_forward(&usual);
    for (int64_t i = 0; i < 80; i++)
        assert_true(fabs(tensor_get(&longer.out[0], i / 8 * 32 + i % 8) - tensor_get(&usual.out[0], i)) < 1e-6);
    bench_close(&longer), bench_close(&usual);
    OPEN(b, rope, partly);
    PUT(b, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0);
    bench_forward(&b);
    const double angle[] = { 1, .1, .01 * (1 + .25) / 2, .001 * .25 };
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(tensor_get(&b.out[0], i) - 1.5) < 1e-6 && tensor_get(&b.out[0], 4 + i) == 0);
        assert_true(fabs(tensor_get(&b.out[0], 8 + i) - 1.5 * cos(angle[i])) < 1e-6);
        assert_true(fabs(tensor_get(&b.out[0], 12 + i) - 1.5 * sin(angle[i])) < 1e-6);
    }
    bench_close(&b);
}

/* ---- YaRN ---- */

static struct rope_attr rope_of(const char *sets)
{
    struct tiny t = tiny_new(sets, NULL, MODE_EVAL, 2, 6);
    struct rope_attr a = *(const struct rope_attr *)tiny_find(&t, &op_rope, 0)->attr;
    tiny_free(&t);
    return a;
}

/* 64 dimensions, 4096 tokens 40 times as long. */
static void test_yarn(void **state)
{
    (void)state;
    struct rope_attr a = rope_of(TEXT({"attention.head_dim": 64, "position":
        {"module": "rope", "stretch": "yarn", "factor": 40, "original": 4096, "temperature": "rotated"}}));
    assert_true(a.low == 10 && a.high == 23 && a.factor == 40);
    assert_float_equal(a.amplitude, 1.36889, 5e-6);
    a = rope_of(TEXT({"attention.head_dim": 64, "position":
        {"module": "rope", "stretch": "yarn", "factor": 40, "rounded": false}}));
    assert_float_equal(a.low, 64 * log(4096 / (2 * acos(-1) * 32)) / (2 * log(1e4)), 1e-9);
    assert_float_equal(a.high, 64 * log(4096 / (2 * acos(-1))) / (2 * log(1e4)), 1e-9);
    assert_true(a.amplitude == 1);
    a = rope_of(TEXT({"attention.head_dim": 64, "position":
        {"module": "rope", "stretch": "yarn", "original": 6, "fraction": 0.5}}));
    assert_true(a.width == 32 && a.low == 0 && a.high > 0 && a.high < 1);    /* no pair turns: all but the first slow */
    tiny_refused(TEXT({"position": {"module": "rope", "temperature": "scores"}}), "goes by the factor of a stretch");
    tiny_refused(TEXT({"position": {"module": "rope", "stretch": "yarn", "slow": 33}}), "must be below fast = 32");
}

/* Where the whole head rotates it is one whether its two sides grow or the scores of both; of a part it is not. */
static void test_sharper(void **state)
{
    (void)state;
    static const char *const rotated[] = {
        TEXT({"position": {"module": "rope", "stretch": "linear", "temperature": "rotated", "factor": 40}}),
        TEXT({"position": {"module": "rope", "stretch": "linear", "temperature": "rotated", "factor": 40,
                           "fraction": 0.5}}) };
    static const char *const scores[] = {
        TEXT({"position": {"module": "rope", "stretch": "linear", "temperature": "scores", "factor": 40}}),
        TEXT({"position": {"module": "rope", "stretch": "linear", "temperature": "scores", "factor": 40,
                           "fraction": 0.5}}) };
    for (int part = 0; part < 2; part++) {
        struct pair p = pair_new(rotated[part], scores[part]);
        const struct attention_attr *at = tiny_find(&p.b, &op_attention, 0)->attr;
        assert_float_equal(at->scale, 0.5 * 1.368888 * 1.368888, 1e-5);
        pair_run(&p);
        if (part) assert_true(distance(p.x, p.y, p.n) > 1e-4);
        else check_near(p.x, p.y, p.n, 1e-5);
        pair_free(&p);
    }
}

/* A scale is what it replaces. */
static void test_scale(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"attention.scale": 0.5}), "{}");
    assert_true(tiny_same(&p.a, &p.b));
    pair_free(&p);
}

/* ---- temperatures ---- */

static void test_lengths(void **state)
{
    (void)state;
    OPEN(llama, positions, llama);
    OPEN(before, positions, before);
    OPEN(documents, positions, documents);
    bench_forward(&llama), bench_forward(&before), bench_forward(&documents);
    SEE(llama.out[0], 0, 2);
    SEE(before.out[0], 0, 0);
    SEE(documents.out[0], 0, .5, 1, .5, .5, .5, 1);
    assert_float_equal(1 + .1 * log(2 + 1), 1.1099, 5e-5);
    bench_close(&llama), bench_close(&before), bench_close(&documents);
}

/* Queries, and learned logits too, are multiplied by what the module says of their position in the document. */
static void test_temperature(void **state)
{
    (void)state;
    static const char *const kind[] = {
        TEXT({"position": {"module": "relative", "features": 3, "extent": 4},
              "attention.temperature": {"module": "log", "rate": 0.3, "length": 2}}),
        TEXT({"position": {"module": "relative", "features": 3, "extent": 4},
              "attention.temperature": {"module": "log", "rate": 0.3, "length": 2, "rises": "evenly"}}) };
    for (int evenly = 0; evenly < 2; evenly++) {
        struct tiny t = tiny_new(kind[evenly], NULL, MODE_EVAL, 2, 6);
        tiny_start(&t, 1);
        for (int i = 4; i < 6; i++) t.start[i] = 4;
        tiny_forward(&t);
        struct node *core = tiny_find(&t, &op_attention, 0), *q = tiny_user(&t, "layers.0.attention.q.weight"),
                    *r = tiny_user(&t, "layers.0.attention.relative.profiles.weight");
        double *hot[] = { tiny_read(&t, core->in[0]), tiny_read(&t, core->in[6]) },
               *cold[] = { tiny_read(&t, q), tiny_read(&t, r) };
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < 12 * 8; i++) {
                int token = i / 8, p = token % 6 - (token == 4 || token == 5 ? 4 : 0);
                double by = 1 + 0.3 * log(evenly ? fmax((p + 1) / 2.0, 1) : (p + 1) / 2 + 1);
                assert_float_equal(hot[side][i], by * cold[side][i], 1e-6);
            }
        for (int side = 0; side < 2; side++) free(hot[side]), free(cold[side]);
        tiny_free(&t);
    }
}

/* ---- learned logits of distance ---- */

#define RELATIVE(...) TEXT({"position": {"module": "relative", "features": 3, __VA_ARGS__}})

/* r . P[d] is what attention gets. */
static void test_relative_product(void **state)
{
    (void)state;
    struct tiny t = tiny_new(RELATIVE("extent": 4), NULL, MODE_EVAL, 1, 6);
    tiny_start(&t, 1);
    tiny_forward(&t);
    const real *profile = tiny_weight(&t, "layers.1.attention.relative.profiles.weight");             /* [R,3] */
    struct node *features = tiny_user(&t, "layers.1.attention.relative.features.weight");
    double *r = tiny_read(&t, features), *rel = tiny_read(&t, tiny_find(&t, &op_attention, features->id)->in[6]);
    for (int i = 0; i < 6 * 2 * 4; i++) {
        double want = 0;
        for (int f = 0; f < 3; f++) want += r[i / 4 * 3 + f] * profile[i % 4 * 3 + f];
        assert_float_equal(rel[i], want, 1e-6);
    }
    free(r);
    free(rel);
    tiny_free(&t);
}

/* Profiles of 0 are no positions; equal ones that reach all are none either; those of which some are near are some. */
static void test_relative_ends(void **state)
{
    (void)state;
    struct pair p = pair_new(RELATIVE("extent": 6), TEXT({"position": "none"}));
    for (int even = 0; even < 2; even++) {
        for (int layer = 0; layer < 3; layer++) {
            char path[64];
            snprintf(path, sizeof path, "layers.%d.attention.relative.profiles.weight", layer);
            real *profile = tiny_weight(&p.a, path);
            for (int i = 0; i < 18; i++) profile[i] = even ? (real)(0.5 * (i % 3) - 0.3) : 0;
        }
        pair_run(&p);
        if (even) check_near(p.x, p.y, p.n, 1e-5);
        else check_equal(p.x, p.y, p.n);
    }
    tiny_weight(&p.a, "layers.0.attention.relative.profiles.weight")[3] += 5;
    pair_run(&p);
    assert_true(distance(p.x, p.y, p.n) > 1e-4);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN(neighbours), RUN(stretched), RUN(yarn), RUN(sharper), RUN(scale), RUN(lengths), RUN(temperature),
        RUN(relative_product), RUN(relative_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
