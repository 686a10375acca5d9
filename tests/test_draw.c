/* Normals of a key: near the exact transform, normal, independent, the same at every instruction set; and filling with
   them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "plan/plan.h"
#include "base/draw.h"
#include "cpu/isa.h"

enum { MANY = 1 << 20 };
static float x[MANY], y[MANY];

static struct key key(uint64_t seed)
{
    return (struct key){ seed, PURPOSE_INIT, hash_name("layers.0.ffn.up.weight"), 0 };
}

/* ---- one value ---- */

static void near_the_exact_transform(void **state)
{
    (void)state;
    const double two_pi = 6.283185307179586476925;
    double worst_radius = 0, worst = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        /* Ends, all over, around multiples of two pi */
        uint32_t bits[4],
            words[] = { i, ~i, i << 12, i * 2654435761u, i - MANY / 2, (i % 9 << 29) + i / 9 - MANY / 18 };
        key_bits(key(1), i, bits);
        for (int w = 0; w < COUNT(words); w++) {
            double u = (double)(((float)words[w] + 0.5f) * 0x1p-32f), radius = sqrt(-2 * log(u)),
                   angle = two_pi * 0x1p-32 * words[w];
            float cosine, sine, found = draw_radius(words[w]);
            draw_normals(bits[0], words[w], &cosine, &sine);
            double length = sqrt(-2 * log((double)(((float)bits[0] + 0.5f) * 0x1p-32f)));
            worst_radius = fmax(worst_radius, radius > 0 ? fabs((double)found / radius - 1) : (double)found);
            worst = fmax(worst,
                         fmax(fabs((double)cosine - length * cos(angle)), fabs((double)sine - length * sin(angle))));
        }
    }
    assert_true(worst_radius < 1.2e-7);
    assert_true(worst < 7e-7);
    assert_true(draw_radius(0) > 6.763f && draw_radius(0) < 6.764f);
    assert_true(draw_radius(UINT32_MAX) == 0);
}

/* ---- many ---- */

static void the_same_at_every_instruction_set(void **state)
{
    (void)state;
    static const struct { uint64_t first; int64_t n; } spans[] = { { 0, 1 }, { 0, 64 }, { 63, 2 }, { 17, 30 },
                                                                   { 5, 700 }, { (9ull << 32) + 128, 200 },
                                                                   { (1ull << 38) - 70, 140 } };
    for (int level = 0; isa_level(level); level++)
        for (int s = 0; s < COUNT(spans); s++) {
            isa_use(isa_level(level));
            struct key k = key(7);
            k.step = 5ull << 32 | 3;
            x[spans[s].n] = 99;
            key_normals(k, spans[s].first, spans[s].n, 0, x);
            for (int64_t i = 0; i < spans[s].n; i++)
                assert_true((double)x[i] == key_normal(k, spans[s].first + (uint64_t)i));
            assert_true(x[spans[s].n] == 99);
        }
    isa_use(NULL);
}

/* Whatever builds this: the weights of a seed stay what they are. */
static void the_same_for_ever(void **state)
{
    (void)state;
    char text[33];
    key_normals(key(1), 0, MANY, 0, x);
    hash_print(hash_bytes(x, sizeof x), text);
    assert_string_equal(text, "568d52e82b4c04a347367712718ade7d");
}

static void beyond_the_cut_drawn_again(void **state)
{
    (void)state;
    static const float cuts[] = { 3, 1, 0.1f };
    for (int level = 0; isa_level(level); level++)
        for (int c = 0; c < COUNT(cuts); c++) {
            enum { N = 5000, FIRST = 41 };
            isa_use(isa_level(level));
            key_normals(key(2), FIRST, N, cuts[c], x);
            for (uint64_t i = 0; i < N; i++) {
                struct key k = key(2);
                while (fabs(key_normal(k, FIRST + i)) > (double)cuts[c]) k.step++;
                assert_true((double)x[i] == key_normal(k, FIRST + i));
            }
        }
    isa_use(NULL);
}

/* ---- as a sample: bounds are five standard errors ---- */

static void moments_of_a_normal(void **state)
{
    (void)state;
    static const struct { int power; double expected, variance; } moments[] = { { 1, 0, 1 }, { 2, 1, 2 }, { 3, 0, 15 },
                                                                                { 4, 3, 96 }, { 6, 15, 10170 } };
    for (uint64_t seed = 0; seed < 8; seed++) {
        key_normals(key(seed), 0, MANY, 0, x);
        for (int m = 0; m < COUNT(moments); m++) {
            double sum = 0;
            for (int i = 0; i < MANY; i++) sum += pow((double)x[i], moments[m].power);
            assert_true(fabs(sum / MANY - moments[m].expected) < 5 * sqrt(moments[m].variance / MANY));
        }
    }
}

static void tails_of_a_normal(void **state)
{
    (void)state;
    enum { SEEDS = 16 };
    double beyond[6][2] = { 0 };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        key_normals(key(seed), 0, MANY, 0, x);
        for (int i = 0; i < MANY; i++)
            for (int t = 1; t <= 5; t++) if (fabsf(x[i]) > (float)t) beyond[t][x[i] > 0]++;
    }
    for (int t = 1; t <= 5; t++)
        for (int side = 0; side < 2; side++) {
            double expected = 0.5 * erfc(t / M_SQRT2) * SEEDS * MANY;
            assert_true(fabs(beyond[t][side] - expected) < 5 * sqrt(expected));
        }
}

static int by_value(const void *a, const void *b)
{
    float l = *(const float *)a, r = *(const float *)b;
    return (l > r) - (l < r);
}

/* Kolmogorov and Smirnov's greatest distance from the distribution; beyond 2.2 / sqrt(n) once in 8000 times. */
static void distributed_as_a_normal(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        double most = 0;
        key_normals(key(seed), 0, MANY, 0, x);
        qsort(x, MANY, sizeof *x, by_value);
        for (int i = 0; i < MANY; i++) {
            double p = 0.5 * erfc(-(double)x[i] / M_SQRT2);
            most = fmax(most, fmax(p - (double)i / MANY, (i + 1.) / MANY - p));
        }
        assert_true(most < 2.2 / sqrt(MANY));
    }
}

/* Of values, and of squares: two normals of one radius would show there. */
static void uncorrelated(const float *a, const float *b, int n)
{
    double values = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        double u = (double)a[i], v = (double)b[i];
        values += u * v;
        squares += (u * u - 1) * (v * v - 1) / 2;
    }
    assert_true(fabs(values) < 5 * sqrt(n));
    assert_true(fabs(squares) < 5 * sqrt(n));
}

static void neighbours_are_independent(void **state)
{
    (void)state;
    static const int distances[] = { 1, 2, 3, 4, 8, 15, 16, 17, 32, 48, 64, 128, 256 };
    key_normals(key(3), 0, MANY, 0, x);
    for (int d = 0; d < COUNT(distances); d++) uncorrelated(x, x + distances[d], MANY - distances[d]);
}

/* Rows, matrices of a stack, redraws, seeds and paths. */
static void keys_are_independent(void **state)
{
    (void)state;
    struct key base = key(4);
    key_normals(base, 0, MANY, 0, x);
    for (int change = 0; change < 5; change++) {
        struct key k = base;
        if (change == 1) k.step = 1ull << 32;
        if (change == 2) k.step = 1;
        if (change == 3) k.seed++;
        if (change == 4) k.name = hash_name("layers.1.ffn.up.weight");
        key_normals(k, change == 0 ? 1ull << 32 : 0, MANY, 0, y);
        uncorrelated(x, y, MANY);
    }
}

/* ---- filling ---- */

struct weights { struct graph *graph; struct leaves *leaves; struct state *state; real *stack, *table; };

static struct weights fill(int64_t matrices, int64_t rows, int64_t columns, int threads, int times)
{
    struct weights w = { .leaves = leaves_new() };
    struct init rule = { INIT_NORMAL, 0.25, 2, 3, 0 };
    w.graph = graph_new(w.leaves);
    struct leaf *stack = graph_weight(w.graph, "stack", ROLE_FFN_UP, SHAPE(matrices, rows, columns), rule)->leaf;
    struct leaf *table = graph_weight(w.graph, "table", ROLE_EMBED, SHAPE(rows, columns), rule)->leaf;
    struct leaf *count = graph_buffer(w.graph, "count", DTYPE_I32, SHAPE(9000), 7)->leaf,
                *moment = graph_buffer(w.graph, "moment", DTYPE_REAL, SHAPE(9000), 0)->leaf;
    w.state = state_new(w.leaves, &backend_cpu, threads);
    for (int i = 0; i < times; i++) {
        memset(state_data(w.state, stack), 1, leaf_bytes(stack));    /* filling does not build on what was there */
        memset(state_data(w.state, moment), 1, leaf_bytes(moment));
        state_fill(w.state, 11);
    }
    for (int i = 0; i < 9000; i++) {
        assert_int_equal(((int32_t *)state_data(w.state, count))[i], 7);
        assert_true(((real *)state_data(w.state, moment))[i] == 0);
    }
    w.stack = state_data(w.state, stack);
    w.table = state_data(w.state, table);
    return w;
}

static void empty(struct weights w) { state_free(w.state); graph_free(w.graph); leaves_free(w.leaves); }

static void a_weight_depends_on_its_place_alone(void **state)
{
    (void)state;
    struct weights large = fill(5, 31, 333, 1, 1), small = fill(3, 20, 100, 2, 1), again = fill(5, 31, 333, 3, 2);
    for (int64_t m = 0; m < 3; m++)
        for (int64_t r = 0; r < 20; r++)
            for (int64_t c = 0; c < 100; c++)
                assert_true(large.stack[(m * 31 + r) * 333 + c] == small.stack[(m * 20 + r) * 100 + c]);
    assert_memory_equal(large.stack, again.stack, 5 * 31 * 333 * sizeof(real));
    assert_memory_equal(large.table, again.table, 31 * 333 * sizeof(real));
    double sum = 0, square = 0, n = 5 * 31 * 333;
    for (int i = 0; i < (int)n; i++) {
        double value = ((double)large.stack[i] - 0.25) / 2;
        assert_true(fabs(value) < 3.000001);
        sum += value;
        square += value * value;
    }
    const double variance = 0.973337;                       /* of a normal cut at 3 */
    assert_true(fabs(sum / n) < 5 / sqrt(n));
    assert_true(fabs(square / n - variance) < 5 * sqrt(2 / n));
    empty(large);
    empty(small);
    empty(again);
}

/* Uniforms too; and the logarithm of one between 0 and 16, which is never that of 0. */
static void uniforms_fill_their_range(void **state)
{
    (void)state;
    enum { ROWS = 31, COLUMNS = 333, FEW = 100 };
    struct leaves *leaves = leaves_new();
    struct graph *g = graph_new(leaves);
    struct init even = { INIT_UNIFORM, -0.5, 2, 0, 0 }, log_of = { INIT_LOG_UNIFORM, 0, 16, 0, 0 };
    struct leaf *wide = graph_weight(g, "wide", ROLE_TAPS, SHAPE(ROWS, COLUMNS), even)->leaf,
                *logs = graph_weight(g, "logs", ROLE_SCALAR, SHAPE(ROWS * COLUMNS), log_of)->leaf;
    struct leaves *other = leaves_new();
    struct graph *h = graph_new(other);
    struct leaf *narrow = graph_weight(h, "wide", ROLE_TAPS, SHAPE(ROWS, FEW), even)->leaf;
    struct state *s = state_new(leaves, &backend_cpu, 2), *small = state_new(other, &backend_cpu, 1);
    state_fill(s, 11);
    state_fill(small, 11);
    const real *all = state_data(s, wide), *few = state_data(small, narrow), *logarithm = state_data(s, logs);
    double sum = 0, square = 0, total = 0, n = ROWS * COLUMNS;
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        assert_true(all[i] >= -0.5 && all[i] <= 1.5);
        assert_true(logarithm[i] > -100 && logarithm[i] < 2.772589);
        assert_true(i % COLUMNS >= FEW || all[i] == few[i / COLUMNS * FEW + i % COLUMNS]);
        assert_true(i < COLUMNS || all[i] != all[i - COLUMNS]);
        sum += (double)all[i] - 0.5;
        square += ((double)all[i] - 0.5) * ((double)all[i] - 0.5);
        total += (double)logarithm[i];
    }
    assert_true(fabs(sum / n) < 5 * sqrt(1 / 3.0 / n));
    assert_true(fabs(square / n - 1 / 3.0) < 5 * sqrt(4 / 45.0 / n));
    assert_true(fabs(total / n - (log(16) - 1)) < 5 / sqrt(n));
    state_free(s);
    state_free(small);
    graph_free(g);
    graph_free(h);
    leaves_free(leaves);
    leaves_free(other);
}

/* Matrices of a stack and weights of other paths differ, value by value. */
static void places_differ(void **state)
{
    (void)state;
    struct weights w = fill(2, 40, 70, 1, 1);
    for (int i = 0; i < 40 * 70; i++) {
        assert_true(w.stack[i] != w.stack[40 * 70 + i]);
        assert_true(w.stack[i] != w.table[i]);
        assert_true(i % 70 == 0 || w.stack[i] != w.stack[i - 1]);
        assert_true(i < 70 || w.stack[i] != w.stack[i - 70]);
    }
    empty(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_the_exact_transform), cmocka_unit_test(the_same_at_every_instruction_set),
        cmocka_unit_test(the_same_for_ever), cmocka_unit_test(beyond_the_cut_drawn_again),
        cmocka_unit_test(moments_of_a_normal), cmocka_unit_test(tails_of_a_normal),
        cmocka_unit_test(distributed_as_a_normal), cmocka_unit_test(neighbours_are_independent),
        cmocka_unit_test(keys_are_independent), cmocka_unit_test(a_weight_depends_on_its_place_alone),
        cmocka_unit_test(uniforms_fill_their_range), cmocka_unit_test(places_differ),
    };
    return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
