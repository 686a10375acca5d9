/* Speed of matrix products at training shapes, in GFLOP/s, beside the libraries that are installed.
   `bench_gemm [THREADS [SECONDS]]`; pin it and let nothing else run. One thread is timed by its processor time. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "cpu/isa.h"
#include "library.h"

#include <math.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST = 8192 * 1024, ROUNDS = 5 };

struct shape3 { int groups; int64_t m, n, k; };             /* m: rows of all groups */
static const struct shape3 shapes[] = {
    { 0, 1024, 64, 64 },    { 0, 2048, 128, 128 },  { 0, 2048, 256, 256 },
    { 0, 8192, 256, 256 },  { 0, 2048, 512, 256 },  { 0, 2048, 256, 512 },
    { 0, 2048, 512, 512 },  { 0, 8192, 512, 512 },  { 0, 2048, 2048, 512 },
    { 0, 2048, 768, 768 },  { 0, 1024, 8192, 512 }, { 16, 512, 128, 256 },
    { 16, 1024, 128, 256 }, { 16, 4096, 128, 256 }, { 16, 8192, 128, 256 },
    { 16, 4096, 256, 128 }, { 64, 2048, 256, 512 }, { 64, 8192, 256, 512 },
};
static const char *const forms[] = { "x w^T", "dy w", "dy^T x" };

static real *x, *w, *y, *out, *check;
static int32_t offsets[65];
static int threads = 2;
static double seconds = 0.02;

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

/* 0: y = x w^T; 1: dx = dy w; 2: dw = dy^T x */
static struct gemm training(struct shape3 s, int form)
{
    struct tensor weight = { .data = w, .format = FORMAT_REAL };
    struct matrix mx = matrix_reals(x, s.k), my = matrix_reals(y, s.n), mw = matrix_of(&weight, s.k);
    mw.stack = s.n * s.k;
    struct gemm g = { .m = s.m, .n = s.n, .k = s.k, .a = mx, .b = matrix_transposed(mw) };
    if (form == 1) g = (struct gemm){ .m = s.m, .n = s.k, .k = s.n, .a = my, .b = mw };
    if (form == 2)
        g = (struct gemm){ .m = s.n, .n = s.k, .k = s.m, .a = matrix_transposed(my), .b = mx, .cut = GEMM_DEPTH };
    g.c = matrix_reals(out, g.n);
    g.c.stack = g.m * g.n;
    g.groups = s.groups;
    g.offsets = s.groups ? offsets : NULL;
    return g;
}

/* ---- who computes ---- */

struct contender { const char *name; const struct library *library; struct gemm g; double rate[ROUNDS]; };

/* One group, as a product of its own. */
static struct gemm group(const struct gemm *g, int e)
{
    struct gemm one = *g;
    int64_t from = offsets[e], count = offsets[e + 1] - from;
    if (g->cut == GEMM_ROWS) {
        one.m = count;
        one.a = matrix_at(g->a, from, 0);
        one.b = matrix_moved(g->b, e * g->b.stack);
        one.c = matrix_at(g->c, from, 0);
    } else {
        one.k = count;
        one.a = matrix_at(g->a, 0, from);
        one.b = matrix_at(g->b, from, 0);
        one.c = matrix_moved(g->c, e * g->c.stack);
    }
    return one;
}

static void groups_by_library(const struct args *a, int64_t from, int64_t to)
{
    const struct contender *c = a->attr;
    c->library->threads(1);
    for (int64_t e = from; e < to; e++) {
        struct gemm one = group(&c->g, (int)e);
        c->library->product(&one);
    }
}

/* A library has no grouped product: its fastest form is one call for each group, on one thread, from a parallel
   loop. */
static void compute(const struct args *a, const struct contender *c)
{
    if (!c->library) {
        gemm(a, &c->g);
    } else if (c->g.groups) {
        struct args with = *a;
        with.attr = c;
        each(&with, c->g.groups, 1, groups_by_library);
    } else {
        c->library->threads(threads);
        c->library->product(&c->g);
    }
}

/* ---- timing ---- */

static double own_wall, own_processor;                      /* of Sluice's products */

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) { return threads == 1 ? processor_seconds() : clock_seconds(); }

/* The threads of the library that ran before spin for some milliseconds before they sleep. */
static void let_sleep(void) { nanosleep(&(struct timespec){ .tv_nsec = 30 * 1000 * 1000 }, NULL); }

static double rate(const struct args *a, const struct contender *c)
{
    int64_t times = 0;
    let_sleep();
    compute(a, c);
    double start = now(), end, wall = clock_seconds(), processor = processor_seconds();
    do { compute(a, c); times++; end = now(); } while (end - start < seconds);
    if (!c->library) {
        own_wall += clock_seconds() - wall;
        own_processor += processor_seconds() - processor;
    }
    return 2e-9 * (double)(c->g.m * c->g.n * c->g.k * times) / (end - start);
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(const double *values)
{
    double sorted[ROUNDS];
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, ROUNDS, sizeof *sorted, by_value);
    return sorted[ROUNDS / 2];
}

/* All must have computed the same as the first. */
static void hold_against(const struct args *a, const struct contender *own, const struct contender *c)
{
    int64_t n = own->g.m * own->g.n * (own->g.cut == GEMM_DEPTH && own->g.groups ? own->g.groups : 1);
    real most = 0, off = 0;
    compute(a, own);
    memcpy(check, out, (size_t)n * sizeof *check);
    memset(out, 0, (size_t)n * sizeof *out);
    compute(a, c);
    for (int64_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(check[i]));
        off = fmaxf(off, fabsf(check[i] - out[i]));
    }
    INVARIANT(off <= 1e-4f * most, "%s computes something else: differs by %g where values reach %g", c->name,
              (double)off, (double)most);
}

/* ---- the table ---- */

enum { OWN, FIRST_LIBRARY, CONTENDERS = FIRST_LIBRARY + LIBRARIES };

/* Ratios with the best library: sums of logarithms over the lines of a kind. */
struct mean { double own; int n; };

static int contenders(struct contender *c, struct shape3 s, int form, const struct library *library, int libraries)
{
    c[OWN] = (struct contender){ .name = "own", .g = training(s, form) };
    for (int i = 0; i < libraries; i++)
        c[FIRST_LIBRARY + i] = (struct contender){ .name = library[i].name, .library = &library[i], .g = c[OWN].g };
    return FIRST_LIBRARY + libraries;
}

static void line(const struct args *a, struct shape3 s, int form, const struct library *library, int libraries,
                 struct mean *mean)
{
    struct contender c[CONTENDERS];
    int n = contenders(c, s, form, library, libraries);
    double best = 0;
    for (int i = FIRST_LIBRARY; i < n; i++) hold_against(a, &c[OWN], &c[i]);
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < n; i++) c[i].rate[r] = rate(a, &c[i]);
    printf("| %d | %lld | %lld | %lld | %s |", s.groups, (long long)s.m, (long long)s.n, (long long)s.k, forms[form]);
    for (int i = 0; i < n; i++) {
        printf(" %.0f |", median(c[i].rate));
        if (i >= FIRST_LIBRARY) best = fmax(best, median(c[i].rate));
    }
    if (best > 0) printf(" %.2f |", median(c[OWN].rate) / best);
    printf("\n");
    fflush(stdout);
    mean->own += log(median(c[OWN].rate) / best);
    mean->n++;
}

static void head(const struct library *library, int libraries)
{
    printf("%s, %d threads, GFLOP/s\n\n| groups | m | n | k | product | own |", isa()->name, threads);
    for (int i = 0; i < libraries; i++) printf(" %s |", library[i].name);
    printf(libraries ? " own ÷ best |\n" : "\n");
    for (int i = 0; i < 6 + libraries + (libraries > 0); i++) printf(i == 4 ? "|---" : "|---:");
    printf("|\n");
}

static void summary(const struct library *library, int libraries, const struct mean *mean)
{
    double had = own_processor / (own_wall * threads);
    printf("\nBeside %s", libraries ? "" : "no library (apt-get install libopenblas0-openmp libdnnl2)");
    for (int i = 0; i < libraries; i++) printf("%s%s", library[i].what, i + 1 < libraries ? ", " : "");
    printf("; %s, %d threads\n", isa()->name, threads);
    if (had < 0.85)
        printf("\n**Not a quiet machine**: own products had only %.0f %% of their processors.\n", 100 * had);
    if (libraries) printf("\n| geometric mean | products | own ÷ best library |\n|---|---:|---:|\n");
    for (int i = 0; i < 2 && libraries; i++)
        printf("| %s | %d | %.2f |\n", i ? "grouped" : "dense", mean[i].n, exp(mean[i].own / mean[i].n));
}

int main(int argc, char **argv)
{
    if (argc > 1) threads = atoi(argv[1]);
    if (argc > 2) seconds = atof(argv[2]);
    if (threads < 1 || seconds <= 0) return fprintf(stderr, "usage: bench_gemm [THREADS [SECONDS]]\n"), 2;
    x = numbers(MOST);
    w = numbers(2 * MOST);
    y = numbers(MOST);
    out = numbers(MOST);
    check = numbers(MOST);
    struct args a = { .device = backend_cpu.open(threads) };
    struct library library[LIBRARIES];
    struct mean mean[2] = { 0 };
    int libraries = library_open(library);

    head(library, libraries);
    for (int i = 0; i < COUNT(shapes); i++) {
        if (shapes[i].groups) share_out(shapes[i]);
        for (int form = 0; form < 3; form++) line(&a, shapes[i], form, library, libraries, &mean[shapes[i].groups > 0]);
    }
    summary(library, libraries, mean);
    backend_cpu.close(a.device);
    free(x);
    free(w);
    free(y);
    free(out);
    free(check);
    return 0;
}
