/* Speed of matrix products: GFLOP/s at training shapes, for 1 and 2 threads, beside what one block product reaches
   when its operands are in cache. `bench_gemm [seconds per figure]`; pin it and let nothing else run. */
#include "cpu/isa.h"
#include "cpu/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MOST = 8192 * 1024 };

struct shape3 { int groups; int64_t m, n, k; };             /* m: rows of all groups */
static const struct shape3 shapes[] = {
    { 0, 1024, 64, 64 },    { 0, 2048, 128, 128 },  { 0, 2048, 256, 256 },   { 0, 8192, 256, 256 },   { 0, 2048, 512, 256 },
    { 0, 2048, 256, 512 },  { 0, 2048, 512, 512 },  { 0, 8192, 512, 512 },   { 16, 512, 128, 256 },   { 16, 1024, 128, 256 },
    { 16, 4096, 128, 256 }, { 16, 8192, 128, 256 }, { 16, 4096, 256, 128 },  { 64, 2048, 256, 512 },  { 64, 8192, 256, 512 },
};

static real *x, *w, *y;
static int32_t offsets[65];

static struct matrix rows(real *data, int64_t width, int64_t stack) { return (struct matrix){ data, FORMAT_REAL, width, 1, stack }; }

/* 0: y = x w^T; 1: dx = dy w; 2: dw = dy^T x */
static struct gemm training(struct shape3 s, int which)
{
    struct matrix mx = rows(x, s.k, 0), my = rows(y, s.n, 0), mw = rows(w, s.k, s.n * s.k);
    struct gemm g = { .m = s.m, .n = s.n, .k = s.k, .a = mx, .b = matrix_turned(mw), .c = my };
    if (which == 1) g = (struct gemm){ .m = s.m, .n = s.k, .k = s.n, .a = my, .b = mw, .c = mx };
    if (which == 2) g = (struct gemm){ .m = s.n, .n = s.k, .k = s.m, .a = matrix_turned(my), .b = mx, .c = mw, .cut = GEMM_DEPTH };
    g.groups = s.groups;
    g.offsets = s.groups ? offsets : NULL;
    return g;
}

/* On huge pages, as tensors are. */
static real *numbers(int64_t n)
{
    real *data = aligned_alloc(1 << 21, (size_t)n * sizeof *data);
    if (!data) exit(1);
    madvise(data, (size_t)n * sizeof *data, MADV_HUGEPAGE);
    for (int64_t i = 0; i < n; i++) data[i] = (real)(i % 13) * (real)0.1 - (real)0.6;
    return data;
}

/* Uneven groups: from half to one and a half of the mean. */
static void share_out(struct shape3 s)
{
    for (int e = 0; e <= s.groups; e++) {
        int64_t even = s.m * e / s.groups, mean = s.m / s.groups;
        offsets[e] = (int32_t)(even + (e % 2 ? mean / 4 : 0));
    }
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Median of five timings, each of `seconds`. */
static double rate(const struct args *a, const struct gemm *g, double flops, double seconds)
{
    double best[5];
    gemm(a, g);
    for (int i = 0; i < COUNT(best); i++) {
        int64_t times = 0;
        double start = clock_seconds(), now;
        do { gemm(a, g); times++; now = clock_seconds(); } while (now - start < seconds);
        best[i] = flops * (double)times / (now - start) * 1e-9;
    }
    qsort(best, COUNT(best), sizeof *best, by_value);
    return best[COUNT(best) / 2];
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.05;
    x = numbers(MOST);
    w = numbers(2 * MOST);
    y = numbers(MOST);
    struct pool *pool[] = { pool_new(1), pool_new(2) };
    struct args a[] = { { .device = pool[0] }, { .device = pool[1] } };

    printf("%s\n", isa()->name);
    struct gemm hot = training((struct shape3){ 0, MOST_ROWS, 256, 256 }, 0);
    printf("hot block %lld x %lld x %lld: %.1f\n", (long long)hot.m, (long long)hot.n, (long long)hot.k,
           rate(&a[0], &hot, 2 * (double)(hot.m * hot.n * hot.k), seconds));
    printf("%6s %6s %5s %5s | %15s | %15s | %15s   GFLOP/s, 1 and 2 threads\n", "groups", "m", "n", "k", "x w^T", "dy w", "dy^T x");
    for (int i = 0; i < COUNT(shapes); i++) {
        struct shape3 s = shapes[i];
        if (s.groups) share_out(s);
        printf("%6d %6lld %5lld %5lld", s.groups, (long long)s.m, (long long)s.n, (long long)s.k);
        for (int which = 0; which < 3; which++) {
            struct gemm g = training(s, which);
            double flops = 2 * (double)(s.m * s.n * s.k), one = rate(&a[0], &g, flops, seconds);
            printf(" | %7.1f %7.1f", one, rate(&a[1], &g, flops, seconds));
        }
        printf("\n");
    }
    for (int i = 0; i < 2; i++) pool_free(pool[i]);
    free(x);
    free(w);
    free(y);
    return 0;
}
