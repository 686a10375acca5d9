/* Engram and the other memories inside the trunk: published rows and gates, reach, documents, streams. */
#include "run_graph.h"
#include "tiny_pair.h"

#define ENGRAM(...) TEXT({"memory": {"module": "engram", "rows": 11, "heads": 2, "width": 3, __VA_ARGS__}})

/* Golden rows: tokens 5 9 2 9 5, factors 11 7 13, pad 2, primes 101 103 for pairs, 107 109 for triples. */
static void test_golden_rows(void **state)
{
    (void)state;
    static const struct { int order, rows, want[5]; } table[] = {
        { 2, 101, { 57, 64, 41, 8, 8 } }, { 2, 103, { 57, 64, 41, 6, 8 } },
        { 3, 107, { 35, 90, 104, 24, 18 } }, { 3, 109, { 35, 90, 104, 24, 18 } },
    };
    struct run r = run_new();
    struct node *ids = graph_input(r.graph, "ids", DTYPE_I32, SHAPE(1, 5)),
                *start = graph_input(r.graph, "start", DTYPE_I32, SHAPE(1, 5)), *row[COUNT(table)];
    for (int i = 0; i < COUNT(table); i++) {
        struct ngram_attr gram = { .order = table[i].order, .vocab = 10, .rows = table[i].rows, .hash = HASH_XOR,
                                   .pad = 2, .by0 = 11, .by1 = 7, .by2 = 13 };
        row[i] = ngram(r.graph, ids, start, NULL, gram);
    }
    run_start(&r, 1);
    run_fill(&r, ids, 5, 9, 2, 9, 5);
    run_fill(&r, start, 0, 0, 0, 0, 0);
    run_forward(&r);
    for (int i = 0; i < COUNT(table); i++) assert_integers(run_ints(&r, row[i]), 5, table[i].want);
    run_free(&r);
}

static void test_factors_refused(void **state)
{
    (void)state;
    struct run r = run_new();
    struct node *ids = graph_input(r.graph, "ids", DTYPE_I32, SHAPE(1, 2)),
                *start = graph_input(r.graph, "start", DTYPE_I32, SHAPE(1, 2));
    struct ngram_attr even = { .order = 2, .vocab = 10, .rows = 7, .hash = HASH_XOR, .by0 = 3, .by1 = 4 },
                      large = even, many = even;
    large.by1 = INT64_MAX;
    many.order = 5;
    check_message(r.graph, ngram(r.graph, ids, start, NULL, even), "by1 = 4: must be odd");
    check_message(r.graph, ngram(r.graph, ids, start, NULL, large), "at most 2^63 / 10");
    check_message(r.graph, ngram(r.graph, ids, start, NULL, many), "order = 5: xor has factors for 4 tokens");
    run_start(&r, 1);
    run_free(&r);
}

/* Golden gate: d = norm(x) . norm(k) / sqrt D with gains of 1, and what it lets in. */
static void test_golden_gate(void **state)
{
    (void)state;
    struct run r = run_new();
    struct graph *g = r.graph;
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(1, 4)), *k = graph_input(g, "k", DTYPE_REAL, SHAPE(1, 4)),
                *d = scale(g, dot(g, rmsnorm(g, x, NULL, 1e-6, false), rmsnorm(g, k, NULL, 1e-6, false)), .5),
                *open = sigmoid(g, signed_root(g, d)), *small = graph_input(g, "small", DTYPE_REAL, SHAPE(4)),
                *root = signed_root(g, small);
    run_start(&r, 1);
    for (int i = 0; i < 4; i++) {
        run_reals(&r, x)[i] = (real)sin(.7 * i + .1);
        run_reals(&r, k)[i] = (real)sin(.9 * i + .2);
    }
    run_fill(&r, small, 1e-9, -1e-9, 0, -4);
    run_forward(&r);
    assert_reals(run_reals(&r, d), 2e-6, 1.821402);
    assert_reals(run_reals(&r, open), 2e-6, .794063);
    assert_reals(run_reals(&r, root), 1e-6, 1e-3, -1e-3, 0, -2);
    run_free(&r);
}

/* With V = 0 it is not there, in one stream and in several. */
static void test_nothing_added(void **state)
{
    (void)state;
    static const char *const residual[] = { TEXT({"residual": "pre"}),
                                            TEXT({"residual": {"module": "mhc", "streams": 2}}),
                                            TEXT({"residual": {"module": "hyper", "streams": 1}}) };
    for (int i = 0; i < COUNT(residual); i++) {
        char with[256];
        snprintf(with, sizeof with, "%.*s, %s}", (int)strlen(residual[i]) - 1, residual[i],
                 "\"memory\": {\"module\": \"engram\", \"rows\": 11, \"conv\": 2, \"zero\": true}");
        struct pair p = pair_new(with, residual[i]);
        pair_run(&p);
        check_near(p.x, p.y, p.n, 1e-7);
        pair_free(&p);
    }
}

/* A token's row knows the two before it, and no later one; the stream has nothing else from there. */
static void test_reach(void **state)
{
    (void)state;
    check_reach(TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 1},
        "memory": {"module": "engram", "rows": 1009, "width": 4}}), 3);
}

/* No two tables have as many rows, whichever layer they are in; layers have factors of their own. */
static void test_primes(void **state)
{
    (void)state;
    struct tiny t = tiny_new(ENGRAM("order": 3), NULL, MODE_EVAL, 2, 6);
    int64_t rows[64];
    int n = 0;
    for (int i = 0; i < t.leaves->n; i++) {
        const struct leaf *l = t.leaves->leaf[i];
        if (l->role == ROLE_TABLE && l->kind == LEAF_WEIGHT) rows[n++] = l->decl.shape.dim[0];
    }
    assert_int_equal(n, 3 * 2 * 2);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) assert_true(rows[i] != rows[k]);
    assert_int_equal(rows[0], 11);
    struct node *first = tiny_find(&t, &op_ngram, 0), *other = first;
    while ((other = tiny_find(&t, &op_ngram, other->id + 1))->layer == first->layer) continue;
    assert_true(((const struct ngram_attr *)first->attr)->by0 != ((const struct ngram_attr *)other->attr)->by0);
    tiny_free(&t);
}

/* A document's first tokens are what they are in a sequence of their own. */
static void test_documents(void **state)
{
    (void)state;
    struct tiny t = tiny_new(ENGRAM("order": 4), NULL, MODE_EVAL, 2, 6);
    tiny_start(&t, 1);
    for (int i = 3; i < 6; i++) t.start[i] = 3;
    struct node *row = tiny_find(&t, &op_ngram, 0);
    for (; ((const struct ngram_attr *)row->attr)->order < 4;) row = tiny_find(&t, &op_ngram, row->id + 1);
    for (int i = 0; i < 3; i++) t.ids[6 + i] = t.ids[3 + i];
    tiny_forward(&t);
    double *index = tiny_read(&t, row);
    for (int i = 0; i < 3; i++) assert_true(index[3 + i] == index[6 + i]);
    free(index);
    tiny_free(&t);
}

/* What the convolution is of, and what is added with it. Kept by the plan, for a test to read. */
struct added { struct node *y, *sum; };

static struct node *viewed(struct node *n)
{
    while (n->op == &op_view) n = n->in[0];
    return n;
}

static struct added added_of(const struct tiny *t)
{
    struct node *conv = tiny_find(t, &op_conv1d, 0), *norm = viewed(conv->in[0]);
    struct added a = { viewed(norm->in[0]), tiny_find(t, &op_add, conv->id) };
    assert_true(norm->op == &op_rmsnorm && viewed(a.sum->in[0]) == a.y && viewed(a.sum->in[1]) == conv);
    a.y->output_of_graph = a.sum->output_of_graph = true;
    return a;
}

/* norm(y) of channel c of a stream at token t, 0 before the document of token `of`. */
static double normed(const struct tiny *t, const double *y, int streams, int of, int row, int stream, int c)
{
    if (row < of / t->seq * t->seq + t->start[of]) return 0;
    double sum = 0;
    y += (row * streams + stream) * 8;
    for (int i = 0; i < 8; i++) sum += y[i] * y[i] / 8;
    return y[c] / sqrt(sum + 1e-6);
}

/* y + silu(sum_j w_j norm(y_{t - j order})), each stream with taps of its own, within documents. */
static void check_convolution(const char *sets, int streams, int order, int taps)
{
    struct tiny t = tiny_new(sets, NULL, MODE_TRAIN, 2, 6);
    struct added a = added_of(&t);
    tiny_start(&t, 1);
    for (int i = 8; i < 12; i++) t.start[i] = 2;
    tiny_forward(&t);
    double *y = tiny_read(&t, a.y), *sum = tiny_read(&t, a.sum);
    const real *w = tiny_weight(&t, "layers.0.memory.conv");
    assert_int_equal(tiny_count(&t, "layers.0.memory.conv"), streams * 8 * taps);
    for (int row = 0; row < t.tokens; row++)
        for (int s = 0; s < streams; s++)
            for (int c = 0; c < 8; c++) {
                int at = (row * streams + s) * 8 + c;
                double z = 0;
                for (int j = 0; j < taps; j++)
                    z += (double)w[(s * 8 + c) * taps + taps - 1 - j] *
                         normed(&t, y, streams, row, row - j * order, s, c);
                assert_float_equal(sum[at], y[at] + z / (1 + exp(-z)), 1e-5);
            }
    free(y);
    free(sum);
    tiny_free(&t);
}

static void test_engram_convolution(void **state)
{
    (void)state;
    check_convolution(ENGRAM("order": 2, "conv": 3), 1, 2, 3);
    check_convolution(ENGRAM("order": 3, "conv": 1), 1, 3, 1);
    check_convolution(TEXT({"residual": {"module": "mhc", "streams": 2},
                            "memory": {"module": "engram", "rows": 11, "width": 3, "order": 2, "conv": 2}}), 2, 2, 2);
}

/* Two taps, two tokens apart, of grams of two: a token is heard by itself and the three behind it. */
static void test_engram_convolution_reach(void **state)
{
    (void)state;
    check_reach(TEXT({"layers": 1, "attention.mask": {"module": "window", "size": 1},
        "memory": {"module": "engram", "rows": 1009, "width": 4, "order": 2, "conv": 2}}), 4);
}

static void test_engram_convolution_decodes(void **state)
{
    (void)state;
    static const char *const kind[] = { ENGRAM("order": 2, "conv": 3), ENGRAM("order": 4, "conv": 2),
                                        TEXT({"residual": {"module": "mhc", "streams": 2},
                                              "memory": {"module": "engram", "rows": 11, "order": 2, "conv": 2}}) };
    for (int i = 0; i < COUNT(kind); i++) {
        struct tiny whole = decoder(kind[i]);
        decoded_alike(&whole, kind[i]);
        tiny_free(&whole);
    }
}

/* From nothing V learns first, then the taps. */
static void test_engram_convolution_learns(void **state)
{
    (void)state;
    struct tiny t = tiny_new(TEXT({"memory": {"module": "engram", "rows": 11, "conv": 3, "zero": true}}), NULL,
                             MODE_TRAIN, 2, 6);
    const char *const name[] = { "layers.0.memory.value.weight", "layers.0.memory.conv" };
    tiny_start(&t, 1);
    for (int step = 0; step < 2; step++) {
        tiny_step(&t, step);
        for (int i = 0; i < 2; i++) {
            double size = 0;
            for (int64_t k = 0; k < tiny_count(&t, name[i]); k++) size += fabs((double)tiny_weight(&t, name[i])[k]);
            assert_true((size > 0) == (step >= i));
        }
    }
    tiny_free(&t);
}

/* A convolution of taps 0 adds nothing; of one tap on the token itself x_0 again. */
static void test_conv(void **state)
{
    (void)state;
    struct pair p = pair_new(TEXT({"memory": {"module": "conv", "zero": true}}), "{}");
    pair_run(&p);
    check_equal(p.x, p.y, p.n);
    pair_free(&p);
    p = pair_new(TEXT({"layers": 1, "memory": {"module": "conv", "taps": 2}}), TEXT({"layers": 1, "embed.scale": 2}));
    real *taps = tiny_weight(&p.a, "layers.0.memory.conv");
    for (int c = 0; c < 8; c++) taps[2 * c] = 0, taps[2 * c + 1] = 1;
    pair_run(&p);
    check_near(p.x, p.y, p.n, 1e-6);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_rows), cmocka_unit_test(test_factors_refused), cmocka_unit_test(test_golden_gate),
        cmocka_unit_test(test_nothing_added), cmocka_unit_test(test_reach), cmocka_unit_test(test_primes),
        cmocka_unit_test(test_documents), cmocka_unit_test(test_conv), cmocka_unit_test(test_engram_convolution),
        cmocka_unit_test(test_engram_convolution_reach), cmocka_unit_test(test_engram_convolution_decodes),
        cmocka_unit_test(test_engram_convolution_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
