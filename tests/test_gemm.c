/* Matrix products against a plain double sum, on every instruction set that this processor has. */
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

enum { MOST = 1 << 18 };

/* A [m,k], B [k,n], C [m,n], each with a stack, stored one or the other way round with gaps between the lines. */
static struct { struct gemm g; double *want, *size; int64_t c_count; } job;
static real left[MOST], right[MOST], result[MOST];
static uint16_t narrow_left[MOST], narrow_right[MOST], narrow_result[MOST];
static int32_t offsets[6];
static uint64_t draws;

static int64_t draw(int64_t below) { return (int64_t)key_below((struct key){ 3, PURPOSE_TEST, 1, 0 }, draws++, (uint64_t)below); }

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

static struct matrix made(real *data, uint16_t *narrow, bool bf16, int64_t rows, int64_t cols, bool turned, int64_t stack)
{
    int64_t line = (turned ? rows : cols) + draw(3), count = stack * (turned ? cols : rows) * line;
    struct matrix m = { .data = data, .format = FORMAT_REAL, .row = line, .col = 1, .stack = count / stack };
    struct tensor t = { .data = narrow, .format = FORMAT_BF16 };
    assert_true(count <= MOST);
    fill(data);
    row_narrow(&t, 0, MOST, data);
    if (bf16) { m.data = narrow; m.format = FORMAT_BF16; }
    if (turned) { m.row = 1; m.col = line; }
    return m;
}

/* The whole memory of C: what no product may touch stays as it was. */
static void expect(void)
{
    struct gemm *g = &job.g;
    int groups = g->offsets ? g->groups : 1;
    int64_t whole = g->cut == GEMM_DEPTH && g->offsets ? g->k : g->m;
    for (int64_t i = 0; i < MOST; i++) { job.want[i] = get(&g->c, i); job.size[i] = 0; }
    for (int e = 0; e <= groups; e++) {
        int64_t from = g->offsets ? g->offsets[e] : e * g->m, to = e == groups ? whole : g->offsets ? g->offsets[e + 1] : g->m;
        bool depth = g->cut == GEMM_DEPTH && g->offsets;
        if (depth && e == groups) continue;
        for (int64_t i = depth ? 0 : from; i < (depth ? g->m : to); i++)
            for (int64_t j = 0; j < g->n; j++) {
                int64_t at = (depth ? e * g->c.stack : 0) + i * g->c.row + j;
                double sum = g->beta != 0 ? get(&g->c, at) : 0, size = fabs(sum);
                for (int64_t p = depth ? from : 0; e < groups && p < (depth ? to : g->k); p++) {
                    double term = get(&g->a, i * g->a.row + p * g->a.col) * get(&g->b, (depth ? 0 : e * g->b.stack) + p * g->b.row + j * g->b.col);
                    sum += term;
                    size += fabs(term);
                }
                job.want[at] = sum;
                job.size[at] = size;
            }
    }
}

static void draw_job(bool grouped)
{
    enum gemm_cut cut = draw(2) ? GEMM_ROWS : GEMM_DEPTH;
    int64_t m = 1 + draw(draw(4) ? 60 : 250), n = 1 + draw(draw(4) ? 60 : 600), k = draw(draw(4) ? 40 : 400);
    int64_t cut_extent = cut == GEMM_ROWS ? m : k, groups = grouped ? COUNT(offsets) - 1 : 1;
    if (grouped) { n = 1 + n % 50; m = 1 + (m - 1) % 150; k %= 150; cut_extent = cut == GEMM_ROWS ? m : k; }
    for (int e = 1; e < COUNT(offsets); e++) offsets[e] = (int32_t)(draw(3) ? (cut_extent * e / COUNT(offsets)) : offsets[e - 1]);
    job.g = (struct gemm){ .m = m, .n = n, .k = k, .cut = cut, .beta = (real)draw(2) };
    job.g.a = made(left, narrow_left, draw(2), m, k, draw(2), 1);
    job.g.b = made(right, narrow_right, draw(2), k, n, draw(2), cut == GEMM_ROWS ? groups : 1);
    job.g.c = made(result, narrow_result, draw(2), m, n, false, cut == GEMM_DEPTH ? groups : 1);
    if (grouped) { job.g.groups = (int)groups; job.g.offsets = offsets; }
    expect();
}

static void check(const char *level)
{
    bool bf16 = job.g.c.format == FORMAT_BF16;
    for (int64_t i = 0; i < MOST; i++) {
        double got = get(&job.g.c, i), bound = job.size[i] * 2e-6 + (bf16 ? fabs(job.want[i]) / 256 : 0);
        if (!(fabs(got - job.want[i]) <= bound))
            fail_msg("%s: m %lld n %lld k %lld value %lld: %g, expected %g", level, (long long)job.g.m, (long long)job.g.n, (long long)job.g.k,
                     (long long)i, got, job.want[i]);
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
        draw_job(grouped);
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
        try_jobs(isa_level(i), false, 25);
        try_jobs(isa_level(i), true, 25);
    }
    free(job.want);
    free(job.size);
}

/* A row of C is the same to the bit alone, in a small product and in a large one: no bit depends on the cut. */
static void test_rows_stand_alone(void **state)
{
    enum { M = 300, N = 530, K = 420 };
    (void)state;
    for (int level = 0; isa_level(level); level++) {
        isa_use(isa_level(level));
        fill(left);
        fill(right);
        struct gemm g = { .m = M, .n = N, .k = K, .a = { left, FORMAT_REAL, K, 1, 0 }, .b = { right, FORMAT_REAL, 1, K, 0 },
                          .c = { result, FORMAT_REAL, N, 1, 0 } };
        gemm(&(struct args){ 0 }, &g);
        for (int i = 0; i < 40; i++) {
            int64_t row = draw(M), col = draw(N);
            real one;
            gemm_here(&(struct gemm){ .m = 1, .n = 1, .k = K, .a = matrix_at(g.a, row, 0), .b = matrix_at(g.b, 0, col),
                                      .c = { &one, FORMAT_REAL, 1, 1, 0 } });
            assert_memory_equal(&one, result + row * N + col, sizeof one);
        }
    }
    isa_use(NULL);
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
    assert_int_equal(exit_code("mmx"), 2);
    assert_int_equal(exit_code(""), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_values), cmocka_unit_test(test_rows_stand_alone), cmocka_unit_test(test_choice) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
