/* Other people's matrix products, when they are installed: loaded while the program runs, so nothing is linked. */
#ifndef SLUICE_BENCH_LIBRARY_H
#define SLUICE_BENCH_LIBRARY_H

#include "cpu/gemm.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

struct library { const char *name; char what[256]; void (*threads)(int n); void (*product)(const struct gemm *g); };

/* Of a matrix that is read as it lies, or the other way round: the distance of its rows in memory. */
static inline bool transposed(struct matrix m) { return m.row == 1 && m.col != 1; }
static inline int64_t pitch(struct matrix m) { return transposed(m) ? m.col : m.row; }

/* ---- OpenBLAS ---- */

static void (*cblas_sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                           const float *a, int pitch_a, const float *b, int pitch_b, float beta, float *c, int pitch_c);
static void (*openblas_threads)(int n);

static void openblas_product(const struct gemm *g)
{
    enum { ROWS = 101, PLAIN = 111, TRANSPOSED = 112 };
    cblas_sgemm(ROWS, transposed(g->a) ? TRANSPOSED : PLAIN, transposed(g->b) ? TRANSPOSED : PLAIN, (int)g->m,
                (int)g->n, (int)g->k, 1, g->a.data, (int)pitch(g->a), g->b.data, (int)pitch(g->b), 0, g->c.data,
                (int)pitch(g->c));
}

/* Debian has several builds; the one on OpenMP is the fastest here. */
static bool openblas_open(struct library *l)
{
    struct utsname u;
    char path[512];
    uname(&u);
    unsetenv("OPENBLAS_CORETYPE");    /* it chooses its kernels itself, and is held against ours */
    unsetenv("OPENBLAS_L2_SIZE");
    snprintf(path, sizeof path, "/usr/lib/%s-linux-gnu/openblas-openmp/libopenblas.so.0", u.machine);
    void *library = dlopen(path, RTLD_NOW);
    if (!library) library = dlopen("libopenblas.so.0", RTLD_NOW);
    if (!library) return false;
    char *(*config)(void);
    *(void **)&config = dlsym(library, "openblas_get_config");
    *(void **)&cblas_sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&openblas_threads = dlsym(library, "openblas_set_num_threads");
    if (!config || !cblas_sgemm || !openblas_threads) return false;
    *l = (struct library){ .name = "OpenBLAS", .threads = openblas_threads, .product = openblas_product };
    snprintf(l->what, sizeof l->what, "%s", config());
    return true;
}

/* ---- oneDNN ---- */

static int (*dnnl_sgemm)(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                         const float *a, int64_t pitch_a, const float *b, int64_t pitch_b, float beta, float *c,
                         int64_t pitch_c);
static void (*openmp_threads)(int n);                       /* of the calling thread's regions */

static void onednn_product(const struct gemm *g)
{
    int status = dnnl_sgemm(transposed(g->a) ? 'T' : 'N', transposed(g->b) ? 'T' : 'N', g->m, g->n, g->k, 1, g->a.data,
                            pitch(g->a), g->b.data, pitch(g->b), 0, g->c.data, pitch(g->c));
    INVARIANT(status == 0, "dnnl_sgemm: status %d", status);
}

static bool onednn_open(struct library *l)
{
    struct { int major, minor, patch; } const *(*version)(void);
    void *library = dlopen("libdnnl.so.3", RTLD_NOW);
    if (!library) library = dlopen("libdnnl.so.2", RTLD_NOW);
    if (!library) return false;
    *(void **)&version = dlsym(library, "dnnl_version");
    *(void **)&dnnl_sgemm = dlsym(library, "dnnl_sgemm");
    *(void **)&openmp_threads = dlsym(library, "omp_set_num_threads");
    if (!version || !dnnl_sgemm || !openmp_threads) return false;
    *l = (struct library){ .name = "oneDNN", .threads = openmp_threads, .product = onednn_product };
    snprintf(l->what, sizeof l->what, "oneDNN %d.%d.%d", version()->major, version()->minor, version()->patch);
    return true;
}

enum { LIBRARIES = 2 };
static int library_open(struct library out[LIBRARIES])      /* those that are installed */
{
    static bool (*const open[LIBRARIES])(struct library *l) = { openblas_open, onednn_open };
    int n = 0;
    for (int i = 0; i < LIBRARIES; i++) n += open[i](&out[n]);
    return n;
}

#endif
