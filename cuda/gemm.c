/* Matrix products through cuBLASLt, which no other file calls. It knows columns, we know rows: what it is told is the
   product of the transposes, C^T = B^T A^T, whose matrices lie in memory as ours do. A kind of product is planned once:
   the library's search for an algorithm takes longer than most products. */
#include "base/base.h"
#include "gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All that the choice of an algorithm depends on, without padding. */
struct kind {
    int64_t m, n, k, a_row, b_row, c_row, a_stride, b_stride, c_stride;
    int32_t batch, in, out, a_transposed, b_transposed, tf32, a_align, b_align, c_align, zero;
};
struct planned {
    struct kind kind;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
};
struct gemm_cache { int count, capacity; struct planned *plan; };

/* A call of the library for one kind of product. */
#define LT(kind, call) do { \
    cublasStatus_t status_ = (call); \
    if (status_ != CUBLAS_STATUS_SUCCESS) fail(__LINE__, #call, cublasLtGetStatusName(status_), kind); \
} while (0)
#define SET(kind, what, object, attribute, value) \
    LT(kind, cublasLt##what##SetAttribute(object, attribute, &(value), sizeof(value)))

static void fail(int line, const char *call, const char *status, const struct kind *k) __attribute__((noreturn));
static void fail(int line, const char *call, const char *status, const struct kind *k)
{
    static const char *const name[] = { [GEMM_F32] = "f32", [GEMM_BF16] = "bf16" };
    char text[320];
    snprintf(text, sizeof text,
             "%s, for %d x [%lld,%lld]%s x [%lld,%lld]%s of %s to %s, rows %lld, %lld, %lld and strides %lld, %lld, "
             "%lld, aligned to %d, %d, %d",
             status, k->batch, (long long)k->m, (long long)k->k, k->a_transposed ? " transposed" : "", (long long)k->k,
             (long long)k->n, k->b_transposed ? " transposed" : "", name[k->in], name[k->out], (long long)k->a_row,
             (long long)k->b_row, (long long)k->c_row, (long long)k->a_stride, (long long)k->b_stride,
             (long long)k->c_stride, k->a_align, k->b_align, k->c_align);
    library_fail(__FILE__, line, call, text);
}

/* Of every matrix of the batch. Kernels read 16 bytes at a time at most. */
static int32_t alignment(const void *data, int64_t stride, enum gemm_type type)
{
    uintptr_t bits = (uintptr_t)data | (uintptr_t)(stride * (type == GEMM_BF16 ? 2 : 4)) | 16;
    return (int32_t)(bits & -bits);
}

static struct kind kind_of(const struct gemm *g)
{
    return (struct kind){
        .m = g->m, .n = g->n, .k = g->k, .a_row = g->a_row, .b_row = g->b_row, .c_row = g->c_row,
        .a_stride = g->a_stride, .b_stride = g->b_stride, .c_stride = g->c_stride, .batch = g->batch ? g->batch : 1,
        .in = g->in, .out = g->out, .a_transposed = g->a_transposed, .b_transposed = g->b_transposed, .tf32 = g->tf32,
        .a_align = alignment(g->a, g->a_stride, g->in), .b_align = alignment(g->b, g->b_stride, g->in),
        .c_align = alignment(g->c, g->c_stride, g->out) };
}

/* A matrix that lies as `lines` lines of `values`: a column each, as the library sees it. */
static cublasLtMatrixLayout_t layout(const struct kind *k, int32_t type, int64_t values, int64_t lines, int64_t row,
                                     int64_t stride)
{
    cublasLtMatrixLayout_t l;
    LT(k, cublasLtMatrixLayoutCreate(&l, type == GEMM_BF16 ? CUDA_R_16BF : CUDA_R_32F, (uint64_t)values,
                                     (uint64_t)lines, row));
    SET(k, MatrixLayout, l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, k->batch);
    SET(k, MatrixLayout, l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
    return l;
}

static void describe(struct planned *p, const struct kind *k)
{
    const cublasOperation_t operation[] = { CUBLAS_OP_N, CUBLAS_OP_T };
    LT(k, cublasLtMatmulDescCreate(&p->operation, k->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                   CUDA_R_32F));
    SET(k, MatmulDesc, p->operation, CUBLASLT_MATMUL_DESC_TRANSA, operation[k->b_transposed]);
    SET(k, MatmulDesc, p->operation, CUBLASLT_MATMUL_DESC_TRANSB, operation[k->a_transposed]);
    p->a = layout(k, k->in, k->a_transposed ? k->m : k->k, k->a_transposed ? k->k : k->m, k->a_row, k->a_stride);
    p->b = layout(k, k->in, k->b_transposed ? k->k : k->n, k->b_transposed ? k->n : k->k, k->b_row, k->b_stride);
    p->c = layout(k, k->out, k->n, k->m, k->c_row, k->c_stride);
}

/* Where k is cut into parts, these are summed as floats in the workspace, by a kernel of their own: the order is fixed.
   Schemes that sum in C would round to its type between. */
static void choose(struct planned *p, const struct kind *k, cublasLtHandle_t lt, uint64_t workspace)
{
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t best;
    const uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, a = (uint32_t)k->a_align, b = (uint32_t)k->b_align,
                   c = (uint32_t)k->c_align;
    int found = 0;
    LT(k, cublasLtMatmulPreferenceCreate(&wish));
    SET(k, MatmulPreference, wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
    SET(k, MatmulPreference, wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, scheme);
    SET(k, MatmulPreference, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b);
    SET(k, MatmulPreference, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a);
    SET(k, MatmulPreference, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c);
    SET(k, MatmulPreference, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c);
    LT(k, cublasLtMatmulAlgoGetHeuristic(lt, p->operation, p->b, p->a, p->c, p->c, wish, 1, &best, &found));
    if (found == 0) fail(__LINE__, "cublasLtMatmulAlgoGetHeuristic", "no algorithm is found", k);
    LT(k, best.state);
    LT(k, cublasLtMatmulPreferenceDestroy(wish));
    p->algorithm = best.algo;
    p->workspace = best.workspaceSize;
}

static const struct planned *plan(struct device *d, const struct kind *k)
{
    struct gemm_cache *cache = d->gemm_cache;
    for (int i = 0; i < cache->count; i++) if (memcmp(&cache->plan[i].kind, k, sizeof *k) == 0) return &cache->plan[i];
    if (cache->count == cache->capacity) {
        cache->capacity = cache->capacity ? 2 * cache->capacity : 64;
        cache->plan = xrealloc(cache->plan, (size_t)cache->capacity * sizeof *cache->plan);
    }
    struct planned *p = &cache->plan[cache->count++];
    p->kind = *k;
    describe(p, k);
    choose(p, k, d->lt, d->workspace_bytes);
    return p;
}

void gemm(struct device *d, const struct gemm *g)
{
    struct kind k = kind_of(g);
    const struct planned *p = plan(d, &k);
    LT(&k, cublasLtMatmul(d->lt, p->operation, &g->alpha, g->b, p->b, g->a, p->a, &g->beta, g->c, p->c, g->c, p->c,
                          &p->algorithm, d->workspace, p->workspace, d->stream));
}

void gemm_open(struct device *d)
{
    cublasStatus_t status = cublasLtCreate(&d->lt);
    if (status != CUBLAS_STATUS_SUCCESS)
        library_fail(__FILE__, __LINE__, "cublasLtCreate", cublasLtGetStatusName(status));
    d->gemm_cache = xcalloc(1, sizeof *d->gemm_cache);
}

void gemm_close(struct device *d)
{
    for (int i = 0; i < d->gemm_cache->count; i++) {
        struct planned *p = &d->gemm_cache->plan[i];
        cublasLtMatrixLayoutDestroy(p->a);
        cublasLtMatrixLayoutDestroy(p->b);
        cublasLtMatrixLayoutDestroy(p->c);
        cublasLtMatmulDescDestroy(p->operation);
    }
    free(d->gemm_cache->plan);
    free(d->gemm_cache);
    cublasLtDestroy(d->lt);
}
