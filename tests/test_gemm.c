/* Matrix products against a plain double sum, on every instruction set that this processor has; and that their bits do
   not depend on threads, on how a product is cut, on packing, or on a dot product unit where it has nothing to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cpu/isa.h"
#include "cpu/pool.h"

enum { MOST = 364000 };

/* A [m,k], B [k,n], C [m,n], each with a stack, stored one or the other way round with gaps between the lines. */
static struct { struct gemm g; double *want, *size; int64_t c_count; } job;
static real left[MOST], right[MOST], result[MOST];
static uint16_t narrow_left[MOST], narrow_right[MOST], narrow_result[MOST];
static int32_t offsets[6];
static uint64_t draws;

static int64_t draw(int64_t below)
{
    return (int64_t)key_below((struct key){ 3, PURPOSE_TEST, 1, 0 }, draws++, (uint64_t)below);
}

/* Values k/100 in [-1, 1]. */
static void fill(real *data)
{
    uint32_t at = (uint32_t)draw(1 << 30);
    for (int64_t i = 0; i < MOST; i++) data[i] = (real)(0.01 * ((int)((at += 0x9e3779b9u) >> 16) % 201 - 100));
}

static double get(const struct matrix *m, int64_t at)
{
    real one;
    struct tensor t = { .data = m->data, .format = m->format };
    return *row_read(&t, at, 1, &one);
}

static struct matrix made(real *data, uint16_t *narrow, bool bf16, int64_t rows, int64_t cols, bool transposed,
                          int64_t stack)
{
    int64_t values = transposed ? rows : cols, lines = transposed ? cols : rows, line = values + draw(3);
    if (draw(8) == 0 && stack * lines * 1024 <= MOST) line = 1024;          /* lines share cache sets */
    struct matrix m = { .data = data, .format = FORMAT_REAL, .row = line, .col = 1, .stack = lines * line };
    struct tensor t = { .data = narrow, .format = FORMAT_BF16 };
    assert_true(stack * lines * line <= MOST);
    fill(data);
    row_narrow(&t, 0, MOST, data);
    if (bf16) { m.data = narrow; m.format = FORMAT_BF16; }
    if (transposed) { m.row = 1; m.col = line; }
    return m;
}

/* What an instruction set with a dot product unit reads of a narrow operand. */
static double read_as(const struct isa *level, const struct gemm *g, const struct matrix *m, int64_t at)
{
    uint16_t half;
    real value = (real)get(m, at), back;
    struct tensor t = { .data = &half, .format = FORMAT_BF16 };
    if (!g->narrow || !level->dot) return (double)value;
    row_narrow(&t, 0, 1, &value);
    return (double)*row_widen(&t, 0, 1, &back);
}

static void set(const struct matrix *m, int64_t at, real value)
{
    struct tensor t = { .data = m->data, .format = m->format };
    if (m->format == FORMAT_REAL) ((real *)m->data)[at] = value;
    else row_narrow(&t, at, 1, &value);
}

/* The whole memory of C: what no product may touch stays as it was. What is not to be read is NaN. */
static void expect(const struct isa *level)
{
    struct gemm *g = &job.g;
    int groups = g->offsets ? g->groups : 1;
    bool depth = g->cut == GEMM_DEPTH && g->offsets;
    for (int64_t i = 0; i < MOST; i++) { job.want[i] = get(&g->c, i); job.size[i] = 0; }
    for (int e = 0; e <= groups; e++) {
        int64_t from = g->offsets ? g->offsets[e] : e * g->m,
                to = e == groups ? depth ? g->k : g->m : g->offsets ? g->offsets[e + 1] : g->m;
        if (depth && e == groups) continue;
        for (int64_t i = depth ? 0 : from; i < (depth ? g->m : to); i++)
            for (int64_t j = 0; j < g->n; j++) {
                int64_t at = (depth ? e * g->c.stack : 0) + i * g->c.row + j;
                double sum = g->beta != 0 ? get(&g->c, at) : 0, size = fabs(sum);
                for (int64_t p = depth ? from : 0; e < groups && p < (depth ? to : g->k); p++) {
                    double term = read_as(level, g, &g->a, i * g->a.row + p * g->a.col) *
                                  read_as(level, g, &g->b, (depth ? 0 : e * g->b.stack) + p * g->b.row + j * g->b.col);
                    sum += term;
                    size += fabs(term);
                }
                if (g->beta == 0) set(&g->c, at, (real)NAN);
                job.want[at] = sum;
                job.size[at] = size;
            }
    }
}

/* Extents where a way of computing begins or ends: none, one, less than a vector, whole vectors, whole panels, several
   passes. */
static int64_t extent(int64_t most)
{
    static const int64_t some[] = { 0, 1, 2, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33, 48, 63, 64, 96, 100, 128, 130, 250,
                                    256, 270, 512, 515, 600 };
    int64_t n;
    do n = some[draw(COUNT(some))]; while (n > most);
    return n;
}

/* Even, all in one group, or some empty; a part of the rows may belong to none. */
static void draw_offsets(int64_t rows)
{
    int64_t how = draw(3), all = draw(2) ? rows : rows - rows / 5, one = 1 + draw(COUNT(offsets) - 1);
    for (int e = 1; e < COUNT(offsets); e++) {
        int64_t even = all * e / (COUNT(offsets) - 1), alone = e < one ? 0 : all;
        offsets[e] = (int32_t)(how == 0 ? even : how == 1 ? alone : draw(3) ? even : offsets[e - 1]);
    }
}

static void draw_job(const struct isa *level, bool grouped)
{
    enum gemm_cut cut = draw(2) ? GEMM_ROWS : GEMM_DEPTH;
    int64_t groups = grouped ? COUNT(offsets) - 1 : 1;
    int64_t m = extent(grouped ? 250 : 600), n = extent(m > 250 || grouped ? 130 : 600),
            k = extent(m * n > 20000 ? 130 : grouped ? 270 : 600);
    draw_offsets(cut == GEMM_ROWS ? m : k);
    job.g = (struct gemm){ .m = m, .n = n, .k = k, .cut = cut, .beta = (real)draw(2), .narrow = draw(2) };
    job.g.a = made(left, narrow_left, draw(2), m, k, draw(2), 1);
    job.g.b = made(right, narrow_right, draw(2), k, n, draw(2), cut == GEMM_ROWS ? groups : 1);
    job.g.c = made(result, narrow_result, draw(2), m, n, false, cut == GEMM_DEPTH ? groups : 1);
    if (grouped) { job.g.groups = (int)groups; job.g.offsets = offsets; }
    expect(level);
}

static void check(const char *level)
{
    bool bf16 = job.g.c.format == FORMAT_BF16;
    for (int64_t i = 0; i < MOST; i++) {
        double got = get(&job.g.c, i);
        if (job.size[i] == 0 && got == job.want[i]) continue;
        double bound = job.size[i] * 2e-6 + (bf16 ? fabs(job.want[i]) / 256 : 0);
        if (!(fabs(got - job.want[i]) <= bound))
            fail_msg("%s%s: m %lld n %lld k %lld value %lld: %g, expected %g", level, job.g.narrow ? ", narrow" : "",
                     (long long)job.g.m, (long long)job.g.n, (long long)job.g.k, (long long)i, got, job.want[i]);
    }
}

/* Values against the reference; 1 and 2 threads to the bit. */
static void try_jobs(const struct isa *level, bool grouped, int times)
{
    struct pool *one = pool_new(1), *two = pool_new(2);
    size_t bytes = sizeof result + sizeof narrow_result;
    char *before = xmalloc(bytes), *after = xmalloc(bytes);
    isa_use(level);
    for (int i = 0; i < times; i++) {
        draw_job(level, grouped);
        memcpy(before, result, sizeof result);
        memcpy(before + sizeof result, narrow_result, sizeof narrow_result);
        gemm(&(struct args){ .device = one }, &job.g);
        check(level->name);
        memcpy(after, result, sizeof result);
        memcpy(after + sizeof result, narrow_result, sizeof narrow_result);
        memcpy(result, before, sizeof result);
        memcpy(narrow_result, before + sizeof result, sizeof narrow_result);
        gemm(&(struct args){ .device = two }, &job.g);
        assert_memory_equal(result, after, sizeof result);
        assert_memory_equal(narrow_result, after + sizeof result, sizeof narrow_result);
    }
    isa_use(NULL);
    free(before);
    free(after);
    pool_free(one);
    pool_free(two);
}

static void test_values(void **state)
{
    (void)state;
    job.want = xmalloc(MOST * sizeof *job.want);
    job.size = xmalloc(MOST * sizeof *job.size);
    for (int i = 0; isa_level(i); i++) {
        try_jobs(isa_level(i), false, 30);
        try_jobs(isa_level(i), true, 30);
    }
    free(job.want);
    free(job.size);
}

/* A value of C is the same to the bit alone, in a small product and in a large one, however its operands lie. */
static void test_values_stand_alone(void **state)
{
    enum { M = 300, N = 544, K = 420 };
    static const int64_t rows[] = { 1, 9, 16, 24, 47, 64, 100, M };
    (void)state;
    fill(left);
    fill(right);
    for (int level = 0; isa_level(level); level++)
        for (int way = 0; way < 8 * COUNT(rows); way++) {
            struct gemm g = { .m = rows[way / 8], .n = N, .k = K, .narrow = way >> 2 & 1,
                              .c = matrix_reals(result, N) };
            g.a = way & 1 ? matrix_transposed(matrix_reals(left, M)) : matrix_reals(left, K);
            g.b = way & 2 ? matrix_transposed(matrix_reals(right, K)) : matrix_reals(right, N);
            isa_use(isa_level(level));
            gemm(&(struct args){ 0 }, &g);
            for (int i = 0; i < 20; i++) {
                int64_t row = draw(g.m), col = draw(N);
                real one;
                struct gemm alone = g;
                alone.m = alone.n = 1;
                alone.a = matrix_at(g.a, row, 0);
                alone.b = matrix_at(g.b, 0, col);
                alone.c = matrix_reals(&one, 1);
                gemm_here(&alone);
                assert_memory_equal(&one, result + row * N + col, sizeof one);
            }
        }
    isa_use(NULL);
}

/* What a dot product unit must not touch: a product that is not narrow has the bits of the level alone. */
static void test_dot_units_keep_reals(void **state)
{
    enum { M = 70, N = 96, K = 300 };
    (void)state;
    fill(left);
    fill(right);
    struct gemm g = { .m = M, .n = N, .k = K, .a = matrix_reals(left, K), .b = matrix_reals(right, N),
                      .c = matrix_reals(result, N) };
    for (int i = 0; isa_level(i); i++)
        for (int other = 0; isa_level(other); other++) {
            if (isa_level(other)->level != isa_level(i)->level) continue;
            isa_use(isa_level(i));
            gemm(&(struct args){ 0 }, &g);
            memcpy(result + M * N, result, M * N * sizeof *result);
            isa_use(isa_level(other));
            gemm(&(struct args){ 0 }, &g);
            assert_memory_equal(result, result + M * N, M * N * sizeof *result);
        }
    isa_use(NULL);
}

static size_t packed_size(const struct tensor *w, enum format act) { return isa()->level->packed_bytes(w->shape, act); }

/* Both products with a weight have the same bits when it is packed. */
static void test_packed_weights(void **state)
{
    static const struct {
        int64_t experts, rows, n, k;
    } cases[] = { { 0, 40, 96, 64 }, { 0, 300, 300, 40 }, { 0, 5, 33, 600 }, { 5, 90, 70, 130 }, { 5, 33, 32, 32 } };
    struct pool *two = pool_new(2);
    struct args a = { .device = two };
    (void)state;
    for (int level = 0; isa_level(level); level++)
        for (int i = 0; i < COUNT(cases); i++) {
            int64_t experts = cases[i].experts, n = cases[i].n, k = cases[i].k, m = cases[i].rows,
                    widest = n > k ? n : k;
            struct tensor w = { .data = right, .shape = experts ? SHAPE(experts, n, k) : SHAPE(n, k),
                                .format = FORMAT_REAL };
            isa_use(isa_level(level));
            assert_int_equal(packed_size(&w, FORMAT_REAL), 0);
            size_t bytes = packed_size(&w, FORMAT_BF16);
            assert_int_equal(bytes > 0, isa_level(level)->dot != NULL);
            if (!bytes) continue;
            void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
            assert_non_null(packed);
            fill(left);
            fill(right);
            draw_offsets(m);
            for (int transposed = 0; transposed < 2; transposed++) {
                w.packed = NULL;
                struct matrix b = matrix_of(&w, k);
                b.stack = n * k;
                struct gemm g = { .m = m, .n = transposed ? n : k, .k = transposed ? k : n,
                                  .a = matrix_reals(left, transposed ? k : n),
                                  .b = transposed ? matrix_transposed(b) : b,
                                  .c = matrix_reals(result, widest), .narrow = true, .groups = (int)experts,
                                  .offsets = experts ? offsets : NULL };
                memset(result, 0, (size_t)(2 * m * widest) * sizeof *result);
                gemm(&a, &g);
                w.packed = packed;
                isa_level(level)->level->pack(&a, &w);
                fill(right);                                /* from now on only what is packed counts */
                g.b.packed = packed;
                g.c = matrix_reals(result + m * widest, widest);
                gemm(&a, &g);
                assert_memory_equal(result, result + m * widest, (size_t)(m * widest) * sizeof *result);
            }
            free(packed);
        }
    isa_use(NULL);
    pool_free(two);
}

static int exit_code(const char *level)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        setenv("SLUICE_ISA", level, 1);
        if (!freopen("/dev/null", "w", stderr)) _exit(99);
        _exit(strcmp(isa()->name, level) == 0 ? 0 : 98);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_choice(void **state)
{
    (void)state;
    for (int i = 0; isa_level(i); i++) assert_int_equal(exit_code(isa_level(i)->name), 0);
    for (int i = 1; isa_level(i); i++) assert_string_not_equal(isa_level(i)->name, isa_level(i - 1)->name);
    assert_int_equal(exit_code("mmx"), 2);
    assert_int_equal(exit_code(""), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_values), cmocka_unit_test(test_values_stand_alone),
                                        cmocka_unit_test(test_dot_units_keep_reals),
                                        cmocka_unit_test(test_packed_weights), cmocka_unit_test(test_choice) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
