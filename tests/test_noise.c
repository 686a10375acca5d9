/* Noise: what it is a function of, how it is distributed, and that a step which uses it does not depend on how it is
   computed. */
#include "noisy_session.h"
#include "run_graph.h"
#include "tiny.h"
#include "base/draw.h"
#include "cpu/isa.h"
#include "model/building.h"

static const char *const kinds[] = { "normal", "uniform", "gumbel" };

/* ---- one op ---- */

/* Noise of [rows,columns] and of sequences first.. of the run; malloc'd. */
static real *draw(uint64_t seed, const char *name, enum noise_kind kind, int64_t first, int64_t sequences, int64_t rows,
                  int64_t columns)
{
    struct run r = run_new();
    struct node *like = graph_input(r.graph, "like", DTYPE_ACT, SHAPE(rows, columns)),
                *key = graph_input(r.graph, "key", DTYPE_I32, SHAPE(sequences, 2)),
                *y = noise(r.graph, like, key, name, kind);
    run_start(&r, 2);
    inputs_noise((struct inputs){ .noise_key = run_ints(&r, key) }, seed, first, sequences);
    run_forward(&r);
    size_t bytes = (size_t)(rows * columns) * sizeof(real);
    real *values = memcpy(xmalloc(bytes), run_reals(&r, y), bytes);
    run_free(&r);
    return values;
}

/* Word c % 4 of the draw that the key of the sequence gives at (position, c / 4), at every instruction set. */
static void a_function_of_its_place(void **state)
{
    (void)state;
    enum { FIRST = 1000000, SEQUENCES = 3, SEQ = 5, COLUMNS = 133 };
    for (int level = 0; isa_level(level); level++)
        for (enum noise_kind kind = NOISE_NORMAL; kind <= NOISE_GUMBEL; kind++) {
            isa_use(isa_level(level));
            real *y = draw(7, "layers.1.ffn.noise", kind, FIRST, SEQUENCES, SEQUENCES * SEQ, COLUMNS);
            for (uint64_t i = 0; i < SEQUENCES * SEQ * COLUMNS; i++) {
                uint64_t row = i / COLUMNS, column = i % COLUMNS;
                philox4x32_ctr_t bits;
                float four[4];
                key_bits((struct key){ 7, PURPOSE_NOISE, FIRST + row / SEQ, hash_name("layers.1.ffn.noise") },
                         row % SEQ << 32 | column / 4, bits.v);
                draw_noise(kind, bits, four);
                if (y[i] != (real)four[column % 4])
                    fail_msg("%s, %s: value %d is %.9g", isa_level(level)->name, kinds[kind], (int)i, (double)y[i]);
            }
            free(y);
        }
    isa_use(NULL);
}

/* Whatever builds this: what a seed draws stays what it is. */
static void the_same_for_ever(void **state)
{
    (void)state;
    char text[33];
    real *y = draw(1, "a", NOISE_GUMBEL, 0, 2, 200, 50);
    hash_print(hash_bytes(y, 200 * 50 * sizeof *y), text);
    assert_string_equal(text, "b70a332914a613422046f7768acf1f17");
    free(y);
}

/* The whole batch of a step, and its parts. */
static void cuts_change_nothing(void **state)
{
    (void)state;
    enum { SEQUENCES = 4, SEQ = 6, COLUMNS = 9 };
    real *whole = draw(3, "x", NOISE_NORMAL, 20, SEQUENCES, SEQUENCES * SEQ, COLUMNS);
    for (int64_t n = 1; n <= 2; n++)
        for (int64_t at = 0; at < SEQUENCES; at += n) {
            real *part = draw(3, "x", NOISE_NORMAL, 20 + at, n, n * SEQ, COLUMNS);
            assert_memory_equal(part, whole + at * SEQ * COLUMNS, (size_t)(n * SEQ * COLUMNS) * sizeof *part);
            free(part);
        }
    /* Fewer positions, fewer columns */
    real *narrow = draw(3, "x", NOISE_NORMAL, 20, SEQUENCES, SEQUENCES * (SEQ - 2), COLUMNS - 4);
    for (int64_t i = 0; i < SEQUENCES * (SEQ - 2) * (COLUMNS - 4); i++) {
        int64_t row = i / (COLUMNS - 4), column = i % (COLUMNS - 4);
        assert_true(narrow[i] == whole[(row / (SEQ - 2) * SEQ + row % (SEQ - 2)) * COLUMNS + column]);
    }
    free(narrow);
    free(whole);
}

static struct node *odd_rows(struct graph *g)
{
    return noise(g, graph_input(g, "a", DTYPE_REAL, SHAPE(5, 3)), graph_input(g, "b", DTYPE_I32, SHAPE(2, 2)), "x",
                 NOISE_NORMAL);
}

static void rows_are_those_of_sequences(void **state)
{
    (void)state;
    struct run r = run_new();
    odd_rows(r.graph);
    assert_true(r.graph->failed && strstr(r.graph->err.text, "5 rows cannot be those of 2 sequences"));
    graph_free(r.graph);
    leaves_free(r.leaves);
}

/* ---- as a sample: bounds are five standard errors, and far from what another distribution gives ---- */

enum { MANY = 1 << 20, WIDE = 64 };
static real *drawn(enum noise_kind kind, uint64_t seed) { return draw(seed, "sample", kind, 0, 16, MANY / WIDE, WIDE); }

static double distribution(enum noise_kind kind, double x)
{
    if (kind == NOISE_UNIFORM) return fmin(fmax(x, 0), 1);
    return kind == NOISE_GUMBEL ? exp(-exp(-x)) : 0.5 * erfc(-x / M_SQRT2);
}

static int by_value(const void *a, const void *b)
{
    real x = *(const real *)a, y = *(const real *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov's distance, in units of 1 / sqrt(n): above 2.2 once in 8000 samples. */
static double distance(enum noise_kind kind, real *x)
{
    double most = 0;
    qsort(x, MANY, sizeof *x, by_value);
    for (int i = 0; i < MANY; i++) {
        double p = distribution(kind, (double)x[i]);
        most = fmax(most, fmax(p - (double)i / MANY, (i + 1.) / MANY - p));
    }
    return most * sqrt(MANY);
}

static void distributed_as_said(void **state)
{
    (void)state;
    static const struct { double mean, variance, fourth; } of[] = { { 0, 1, 3 }, { 0.5, 1. / 12, 1. / 80 },
                                                                    { 0.5772156649, M_PI * M_PI / 6, 14.6113636 } };
    for (enum noise_kind kind = NOISE_NORMAL; kind <= NOISE_GUMBEL; kind++) {
        real *x = drawn(kind, kind);
        double mean = 0, square = 0, variance = of[kind].variance;
        for (int i = 0; i < MANY; i++) {
            double d = (double)x[i] - of[kind].mean;
            assert_true(isfinite(d) && (kind != NOISE_UNIFORM || (x[i] > 0 && x[i] < 1)));
            mean += d / MANY;
            square += d * d / MANY;
        }
        assert_true(fabs(mean) < 5 * sqrt(variance / MANY));
        assert_true(fabs(square - variance) < 5 * sqrt((of[kind].fourth - variance * variance) / MANY));
        assert_true(distance(kind, x) < 2.2);
        for (int i = 0; i < MANY; i++) x[i] = (real)(of[kind].mean + 1.015 * ((double)x[i] - of[kind].mean));
        assert_true(distance(kind, x) > 2.2);                /* 1.5 % too wide is not of this distribution */
        free(x);
    }
}

/* Of every value with the one beside it in each direction. */
static void neighbours_are_independent(void **state)
{
    (void)state;
    static const int distances[] = { 1, 2, 3, 4, 8, 16, 63, WIDE, 2 * WIDE, MANY / 16 };
    real *x = drawn(NOISE_NORMAL, 3);
    for (int d = 0; d < COUNT(distances); d++) {
        double product = 0, squares = 0;
        for (int i = distances[d]; i < MANY; i++) {
            double u = (double)x[i], v = (double)x[i - distances[d]];
            product += u * v;
            squares += (u * u - 1) * (v * v - 1) / 2;
        }
        assert_true(fabs(product) < 5 * sqrt(MANY) && fabs(squares) < 5 * sqrt(MANY));
    }
    free(x);
}

static void other_keys_are_independent(void **state)
{
    (void)state;
    real *x = drawn(NOISE_NORMAL, 4);
    for (int change = 0; change < 3; change++) {
        real *y = draw(change == 0 ? 5 : 4, change == 1 ? "simple" : "sample", NOISE_NORMAL, change == 2 ? 16 : 0, 16,
                       MANY / WIDE, WIDE);
        double product = 0;
        for (int i = 0; i < MANY; i++) product += (double)x[i] * (double)y[i];
        assert_true(fabs(product) < 5 * sqrt(MANY));
        free(y);
    }
    free(x);
}

/* ---- in a model ---- */

static bool has_key(const struct tiny *t) { return leaves_find(t->leaves, "noise_key") != NULL; }
static bool has_noise(const struct tiny *t)
{
    for (int i = 0; i < t->graph->n; i++) if (t->graph->node[i]->op == &op_noise) return true;
    return false;
}

static void where_it_is_asked_for(void **state)
{
    (void)state;
    for (enum mode mode = MODE_TRAIN; mode <= MODE_DECODE; mode++) {
        struct tiny plain = tiny_new("{}", NULL, mode, 2, 6),
                    with = tiny_new(TEXT({"norm": "noisy"}), NULL, mode, 2, 6);
        assert_true(!has_key(&plain) && !has_noise(&plain));
        assert_true(has_key(&with) == (mode == MODE_TRAIN) && has_noise(&with) == (mode == MODE_TRAIN));
        if (mode != MODE_TRAIN) assert_true(tiny_same(&plain, &with));
        tiny_free(&plain);
        tiny_free(&with);
    }
}

static void a_name_is_used_once(void **state)
{
    (void)state;
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    struct building own = { 0 };
    struct build b = { .graph = g, .arena = g->arena, .mode = MODE_TRAIN, .batch = 2, .seq = 3, .tokens = 6,
                       .own = &own };
    struct node *x = graph_input(g, "x", DTYPE_ACT, SHAPE(6, 4));
    build_noise(&b, "a", x, NOISE_NORMAL);
    build_enter(&b, "layers.%d", 1);
    build_noise(&b, "a", x, NOISE_NORMAL);
    build_leave(&b);
    assert_false(g->failed);
    build_noise(&b, "a", x, NOISE_UNIFORM);
    assert_true(g->failed && strstr(g->err.text, "a: there is noise of this name already"));
    graph_free(g);
    leaves_free(l);
}

/* Bytes of a graph in which noise alone may be made twice. */
static size_t arena_of(enum recompute recompute)
{
    enum { LAYERS = 5 };
    static const char *const name[LAYERS] = { "a", "b", "c", "d", "e" };
    struct leaves *l = leaves_new();
    struct graph *g = graph_new(l);
    struct node *x = graph_input(g, "x", DTYPE_REAL, SHAPE(256, 64)),
                *key = graph_input(g, "key", DTYPE_I32, SHAPE(4, 2)),
                *w = graph_weight(g, "w", ROLE_Q, SHAPE(64, 64), (struct init){ .value = 0.5 }),
                *h = matmul(g, x, w, DTYPE_REAL);
    for (int i = 0; i < LAYERS; i++) h = mul(g, h, noise(g, h, key, name[i], NOISE_NORMAL));
    graph_loss(g, "l", dot(g, h, x), 1, false);
    struct plan *p;
    struct err e;
    if (plan_new(&p, g, (struct plan_how){ &backend_cpu, PRECISION_FP32, recompute }, &e)) fail_msg("%s", e.text);
    size_t arena = plan_report(p)->arena;
    plan_free(p);
    graph_free(g);
    leaves_free(l);
    return arena;
}

static void drawn_again_rather_than_kept(void **state)
{
    (void)state;
    size_t one = 256 * 64 * sizeof(real), none = arena_of(RECOMPUTE_NONE), selective = arena_of(RECOMPUTE_SELECTIVE);
    if (selective + 3 * one > none) fail_msg("%zu bytes, %zu with all that is kept", selective, none);
}

/* ---- in training ---- */

enum { STEPS = 6 };

static struct session *trained(const char *keys, int threads, uint64_t seed, double loss[STEPS])
{
    struct session *s = noisy_open(keys, threads);
    for (int step = 0; step < STEPS; step++) {
        noisy_step(s, seed, step);
        loss[step] = noisy_loss(s);
    }
    return s;
}

static double apart(const double *x, const double *y)
{
    double most = 0;
    for (int i = 0; i < STEPS; i++) most = fmax(most, fabs(x[i] - y[i]));
    return most;
}

/* The bits of a run do not depend on threads, nor on what is drawn twice; another seed has other noise. */
static void the_same_bits(void **state)
{
    (void)state;
    double loss[STEPS], other[STEPS];
    struct session *s = trained("{}", 1, 1, loss);
    struct hash first = session_hash(s);
    session_free(s);
    s = trained("{}", 2, 1, other);
    assert_true(hash_equal(first, session_hash(s)));
    session_free(s);
    s = trained(TEXT({"recompute": "selective"}), 2, 1, other);
    assert_true(hash_equal(first, session_hash(s)));
    session_free(s);
    s = trained("{}", 1, 2, other);
    assert_true(apart(loss, other) > 1e-2);
    session_free(s);
}

static void micro_batches_have_the_noise_of_the_whole(void **state)
{
    (void)state;
    double loss[STEPS], other[STEPS];
    session_free(trained("{}", 1, 1, loss));
    session_free(trained(TEXT({"micro": 2}), 1, 1, other));
    assert_true(apart(loss, other) < 1e-5);
    session_free(trained(TEXT({"micro": 4}), 1, 1, other));
    assert_true(apart(loss, other) < 1e-5);
}

/* What a checkpoint holds, and the number of the step, are all that noise needs. */
static void going_on_repeats_the_bits(void **state)
{
    (void)state;
    double loss[STEPS];
    struct session *s = trained("{}", 1, 1, loss), *begun = noisy_open("{}", 1), *resumed = noisy_open("{}", 1);
    for (int step = 0; step < STEPS / 2; step++) noisy_step(begun, 1, step);
    for (int i = 0; i < begun->leaves->n; i++) {
        const struct leaf *l = begun->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        void *values = xmalloc(leaf_bytes(l));
        state_get(begun->state, l, values);
        state_put(resumed->state, leaves_find(resumed->leaves, l->path), values);
        free(values);
    }
    for (int step = STEPS / 2; step < STEPS; step++) noisy_step(resumed, 1, step);
    assert_true(hash_equal(session_hash(s), session_hash(resumed)));
    session_free(s);
    session_free(begun);
    session_free(resumed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_function_of_its_place), cmocka_unit_test(the_same_for_ever),
        cmocka_unit_test(cuts_change_nothing), cmocka_unit_test(rows_are_those_of_sequences),
        cmocka_unit_test(distributed_as_said), cmocka_unit_test(neighbours_are_independent),
        cmocka_unit_test(other_keys_are_independent), cmocka_unit_test(where_it_is_asked_for),
        cmocka_unit_test(a_name_is_used_once), cmocka_unit_test(drawn_again_rather_than_kept),
        cmocka_unit_test(the_same_bits), cmocka_unit_test(micro_batches_have_the_noise_of_the_whole),
        cmocka_unit_test(going_on_repeats_the_bits),
    };
    return cmocka_run_group_tests_name("noise", tests, NULL, NULL);
}
