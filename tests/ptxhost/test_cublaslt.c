/* The stand-in for cuBLASLt: products against plain sums in double, and each misuse that it has to report or to refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include "misuse.h"
#include "narrow.h"
#include "ptxhost.h"

#define OK(call) assert_int_equal(call, 0)
#define SET(what, object, id, ...) OK(cublasLt##what##SetAttribute(object, id, &(__VA_ARGS__), sizeof(__VA_ARGS__)))
#define COUNT(array) ((int)(sizeof array / sizeof *array))

/* One product D = epilogue(alpha op(A) op(B) + beta C + bias) and what of it a misuse changes. */
struct job {
    cublasComputeType_t compute; cudaDataType in, out; int64_t m, n, k; bool ta, tb, row_a, row_b, row_d, apart, device_scalars;
    int batch; int64_t gap; float alpha, beta; uint32_t epilogue, schemes, promise; uint64_t workspace;
};

enum { A, B, C, D, BIAS, OPERANDS, WORKSPACE_BYTES = 1 << 20 };
static cublasLtHandle_t handle;
static cudaStream_t stream;
static char *workspace;

struct side { cudaDataType type; int64_t rows, cols, ld, stride, values; bool by_row; cublasLtMatrixLayout_t layout; char *device; void *host; };
struct made { struct job j; struct side s[OPERANDS]; float *scalars; cublasLtMatmulDesc_t desc; cublasLtMatmulPreference_t pref; cublasLtMatmulHeuristicResult_t chosen; };

static size_t size_of(cudaDataType type) { return type == CUDA_R_32F ? 4 : 2; }

static float get(const struct side *s, int64_t at)
{
    if (s->type == CUDA_R_32F) return ((float *)s->host)[at];
    uint16_t half = ((uint16_t *)s->host)[at];
    return s->type == CUDA_R_16BF ? bf16_widen(half) : f16_widen(half);
}

static void put(struct side *s, int64_t at, float x)
{
    if (s->type == CUDA_R_32F) ((float *)s->host)[at] = x;
    else ((uint16_t *)s->host)[at] = s->type == CUDA_R_16BF ? bf16_narrow(x) : f16_narrow(x);
}

static int64_t place(const struct side *s, int batch, int64_t row, int64_t col) { return batch * s->stride + (s->by_row ? row * s->ld + col : col * s->ld + row); }

static void side(struct side *s, cudaDataType type, int64_t rows, int64_t cols, bool by_row, int batch, int64_t gap)
{
    *s = (struct side){ .type = type, .rows = rows, .cols = cols, .by_row = by_row, .ld = (by_row ? cols : rows) + gap };
    s->stride = s->ld * (by_row ? rows : cols) + gap;
    s->values = s->stride * batch;
    s->host = malloc((size_t)s->values * size_of(type));
    for (int64_t i = 0; i < s->values; i++) put(s, i, (float)(rand() % 401 - 200) / 200);
    OK(cudaMalloc((void **)&s->device, (size_t)s->values * size_of(type)));
    OK(cudaMemcpy(s->device, s->host, (size_t)s->values * size_of(type), cudaMemcpyHostToDevice));
    OK(cublasLtMatrixLayoutCreate(&s->layout, type, (uint64_t)rows, (uint64_t)cols, s->ld));
    int32_t order = by_row ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL;
    SET(MatrixLayout, s->layout, CUBLASLT_MATRIX_LAYOUT_ORDER, order);
    SET(MatrixLayout, s->layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch);
    SET(MatrixLayout, s->layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, s->stride);
}

static int choose(struct made *x)
{
    int found = 0;
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, x->desc, x->s[A].layout, x->s[B].layout, x->s[x->j.apart ? C : D].layout, x->s[D].layout, x->pref, 1, &x->chosen, &found);
    return status ? (int)status : found == 1 ? 0 : -1;
}

static struct made make(struct job j)
{
    struct made x = { .j = j };
    cublasOperation_t ta = j.ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb = j.tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    if (!j.batch) x.j.batch = j.batch = 1;
    side(&x.s[A], j.in, j.ta ? j.k : j.m, j.ta ? j.m : j.k, j.row_a, j.batch, j.gap);
    side(&x.s[B], j.in, j.tb ? j.n : j.k, j.tb ? j.k : j.n, j.row_b, j.batch, j.gap);
    side(&x.s[C], j.out, j.m, j.n, j.row_d, j.batch, j.gap + 1);
    side(&x.s[D], j.out, j.m, j.n, j.row_d, j.batch, j.gap);
    side(&x.s[BIAS], j.out, j.m, 1, false, 1, 0);
    OK(cublasLtMatmulDescCreate(&x.desc, j.compute, CUDA_R_32F));
    SET(MatmulDesc, x.desc, CUBLASLT_MATMUL_DESC_TRANSA, ta);
    SET(MatmulDesc, x.desc, CUBLASLT_MATMUL_DESC_TRANSB, tb);
    if (j.epilogue) SET(MatmulDesc, x.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, j.epilogue);
    if (j.epilogue & CUBLASLT_EPILOGUE_BIAS) SET(MatmulDesc, x.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, x.s[BIAS].device);
    if (j.device_scalars) {
        int32_t mode = CUBLASLT_POINTER_MODE_DEVICE;
        SET(MatmulDesc, x.desc, CUBLASLT_MATMUL_DESC_POINTER_MODE, mode);
        OK(cudaMalloc((void **)&x.scalars, 8));
        OK(cudaMemcpy(x.scalars, (float[2]){ j.alpha, j.beta }, 8, cudaMemcpyHostToDevice));
    }
    OK(cublasLtMatmulPreferenceCreate(&x.pref));
    SET(MatmulPreference, x.pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, j.workspace);
    SET(MatmulPreference, x.pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, j.schemes);
    if (j.promise) SET(MatmulPreference, x.pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, j.promise);
    return x;
}

static int call(struct made *x)
{
    const struct side *s = x->s, *c = x->j.apart ? &s[C] : &s[D];
    const void *alpha = x->scalars ? x->scalars : &x->j.alpha, *beta = x->scalars ? x->scalars + 1 : &x->j.beta;
    return (int)cublasLtMatmul(handle, x->desc, alpha, s[A].device, s[A].layout, s[B].device, s[B].layout, beta, c->device, c->layout, s[D].device, s[D].layout,
                               &x->chosen.algo, workspace, x->chosen.workspaceSize, stream);
}

static void drop(struct made *x)
{
    for (int i = 0; i < OPERANDS; i++) {
        OK(cudaFree(x->s[i].device));
        OK(cublasLtMatrixLayoutDestroy(x->s[i].layout));
        free(x->s[i].host);
    }
    if (x->scalars) OK(cudaFree(x->scalars));
    OK(cublasLtMatmulDescDestroy(x->desc));
    OK(cublasLtMatmulPreferenceDestroy(x->pref));
}

static double activation(uint32_t epilogue, double v)
{
    if (epilogue & CUBLASLT_EPILOGUE_RELU) return v < 0 ? 0 : v;
    if (epilogue & CUBLASLT_EPILOGUE_GELU) return 0.5 * v * (1 + tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v)));
    return v;
}

/* Rounding of k float additions, and of the result to its type. What lies between the lines stays. */
static void expect(struct made *x, const char *before)
{
    const struct job *j = &x->j;
    struct side *s = x->s, was = s[D], *c = j->apart ? &s[C] : &was;
    double place_error = j->out == CUDA_R_32F ? 0x1p-22 : j->out == CUDA_R_16F ? 0x1p-10 : 0x1p-7;
    double parts = x->chosen.workspaceSize > 4096 && j->out != CUDA_R_32F ? 3 * place_error : 0;
    was.host = (void *)before;
    for (int b = 0; b < j->batch; b++)
        for (int64_t r = 0; r < j->m; r++)
            for (int64_t q = 0; q < j->n; q++) {
                double sum = 0, size = 0;
                for (int64_t p = 0; p < j->k; p++) {
                    float left = get(&s[A], j->ta ? place(&s[A], b, p, r) : place(&s[A], b, r, p)), right = get(&s[B], j->tb ? place(&s[B], b, q, p) : place(&s[B], b, p, q));
                    if (j->compute == CUBLAS_COMPUTE_32F_FAST_TF32) left = tf32_round(left), right = tf32_round(right);
                    sum += (double)left * right;
                    size += fabs((double)left * right);
                }
                double v = j->alpha * sum + (j->beta != 0 ? (double)j->beta * get(c, place(c, b, r, q)) : 0);
                if (j->epilogue & CUBLASLT_EPILOGUE_BIAS) v += get(&s[BIAS], r);
                double wanted = activation(j->epilogue, v), got = get(&s[D], place(&s[D], b, r, q));
                if (!(fabs(got - wanted) <= (double)j->k * 0x1p-23 * size + place_error * (fabs(wanted) + 0.1) + parts * size))
                    fail_msg("row %lld, column %lld of %lld x %lld x %lld: %.9g for %.9g", (long long)r, (long long)q, (long long)j->m, (long long)j->n, (long long)j->k, got, wanted);
                put(&s[D], place(&s[D], b, r, q), get(&was, place(&was, b, r, q)));
            }
    assert_memory_equal(s[D].host, before, (size_t)s[D].values * size_of(s[D].type));
}

static void compare(struct job j)
{
    struct made x = make(j);
    size_t bytes = (size_t)x.s[D].values * size_of(x.s[D].type);
    char *before = malloc(bytes);
    memcpy(before, x.s[D].host, bytes);
    OK(choose(&x));
    OK(call(&x));
    OK(cudaStreamSynchronize(stream));
    OK(cudaMemcpy(x.s[D].host, x.s[D].device, bytes, cudaMemcpyDeviceToHost));
    expect(&x, before);
    free(before);
    drop(&x);
}

static const struct { cublasComputeType_t compute; cudaDataType in, out; } types[] = {
    { CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_32F }, { CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F, CUDA_R_32F }, { CUBLAS_COMPUTE_32F, CUDA_R_16BF, CUDA_R_16BF },
    { CUBLAS_COMPUTE_32F, CUDA_R_16BF, CUDA_R_32F }, { CUBLAS_COMPUTE_32F, CUDA_R_16F, CUDA_R_16F }, { CUBLAS_COMPUTE_32F, CUDA_R_16F, CUDA_R_32F },
};
static const int64_t sizes[][3] = { { 1, 1, 1 }, { 17, 5, 3 }, { 16, 6, 32 }, { 33, 13, 129 }, { 7, 40, 200 } };

static struct job job_of(int type, int size)
{
    return (struct job){ .compute = types[type].compute, .in = types[type].in, .out = types[type].out, .m = sizes[size][0], .n = sizes[size][1], .k = sizes[size][2],
                         .alpha = 1, .schemes = CUBLASLT_REDUCTION_SCHEME_NONE, .workspace = WORKSPACE_BYTES };
}

static void products(void **state)
{
    (void)state;
    for (int t = 0; t < COUNT(types); t++)
        for (int s = 0; s < COUNT(sizes); s++)
            for (int way = 0; way < 32; way++) {
                struct job j = job_of(t, s);
                j.ta = way & 1; j.tb = way & 2; j.row_a = way & 4; j.row_b = way & 8; j.row_d = way & 16;
                j.gap = way % 3; j.batch = 1 + way % 2; j.beta = way % 5 ? 0.5f : 0; j.alpha = way % 7 ? 1 : -1.5f; j.apart = way % 4 == 3;
                compare(j);
            }
}

static void epilogues_scalars_and_schemes(void **state)
{
    (void)state;
    const uint32_t epilogues[] = { CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_BIAS };
    for (int t = 0; t < COUNT(types); t++)
        for (int e = 0; e < COUNT(epilogues); e++) {
            struct job j = job_of(t, 3);
            j.epilogue = epilogues[e]; j.beta = -1; j.device_scalars = e % 2; j.schemes = e < 3 ? CUBLASLT_REDUCTION_SCHEME_MASK : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
            compare(j);
        }
}

/* A product of NaN storage (fresh memory) with beta 0 is clean, and the gap between the lines is left alone. */
static void beta_zero_reads_nothing(void **state)
{
    (void)state;
    struct made x = make(job_of(2, 3));
    size_t bytes = (size_t)x.s[D].values * 2;
    OK(cudaFree(x.s[D].device));
    OK(cudaMalloc((void **)&x.s[D].device, bytes));
    OK(choose(&x));
    OK(call(&x));
    OK(cudaStreamSynchronize(stream));
    OK(cudaMemcpy(x.s[D].host, x.s[D].device, bytes, cudaMemcpyDeviceToHost));
    for (int64_t i = 0; i < x.s[D].values; i++) assert_true(isfinite(get(&x.s[D], i)));
    drop(&x);
}

static void narrow_numbers(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        if (!isnan(f16_widen((uint16_t)i))) assert_int_equal(f16_narrow(f16_widen((uint16_t)i)), i);
        if (!isnan(bf16_widen((uint16_t)i))) assert_int_equal(bf16_narrow(bf16_widen((uint16_t)i)), i);
    }
    assert_true(f16_widen(0x3c01) == 1 + 0x1p-10f && f16_widen(1) == 0x1p-24f && f16_widen(0x7bff) == 65504 && isinf(f16_widen(0x7c00)));
    assert_int_equal(f16_narrow(1 + 0x1p-11f), 0x3c00);
    assert_int_equal(f16_narrow(1 + 0x3p-11f), 0x3c02);
    assert_int_equal(f16_narrow(65519.996f), 0x7bff);
    assert_int_equal(f16_narrow(65520), 0x7c00);
    assert_int_equal(f16_narrow(0x3p-25f), 2);
    assert_int_equal(f16_narrow(-0x1p-25f), 0x8000);
    assert_int_equal(bf16_narrow(1 + 0x1p-8f), 0x3f80);
    assert_int_equal(bf16_narrow(1 + 0x3p-8f), 0x3f82);
    assert_true(tf32_round(1 + 0x1p-11f) == 1 + 0x1p-10f && tf32_round(-(1 + 0x1p-12f)) == -1);
}

/* ---- what the stand-in refuses: a status, no report ---- */

static int status_of(struct job j)
{
    struct made x = make(j);
    int status = choose(&x);
    drop(&x);
    return status;
}

static void refused(void **state)
{
    (void)state;
    struct job j = job_of(0, 1);
    j.compute = CUBLAS_COMPUTE_64F;
    assert_int_equal(status_of(j), CUBLAS_STATUS_NOT_SUPPORTED);
    j = job_of(2, 1);
    j.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    assert_int_equal(status_of(j), CUBLAS_STATUS_NOT_SUPPORTED);
    j = job_of(0, 1);
    j.out = CUDA_R_16BF;
    assert_int_equal(status_of(j), CUBLAS_STATUS_NOT_SUPPORTED);
    j = job_of(0, 1);
    j.epilogue = CUBLASLT_EPILOGUE_DGELU;
    assert_int_equal(status_of(j), CUBLAS_STATUS_NOT_SUPPORTED);
    j = job_of(0, 1);
    j.epilogue = CUBLASLT_EPILOGUE_BIAS; j.row_d = true;
    assert_int_equal(status_of(j), CUBLAS_STATUS_NOT_SUPPORTED);
    struct made x = make(job_of(0, 1));
    int8_t fast = 1;
    assert_int_equal(cublasLtMatmulDescSetAttribute(x.desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, 1), CUBLAS_STATUS_NOT_SUPPORTED);
    assert_int_equal(cublasLtMatmulAlgoGetHeuristic(NULL, x.desc, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL), CUBLAS_STATUS_NOT_INITIALIZED);
    int32_t order;
    size_t written;
    OK(cublasLtMatrixLayoutGetAttribute(x.s[A].layout, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order, &written));
    assert_int_equal(order, CUBLASLT_ORDER_COL);
    assert_int_equal(written, 4);
    drop(&x);
}

/* ---- misuse: each is reported ---- */

static struct made ready(int type, int size)
{
    struct made x = make(job_of(type, size));
    OK(choose(&x));
    return x;
}

static void host_operand(void) { struct made x = ready(0, 1); x.s[B].device = x.s[B].host; call(&x); }
static void freed_operand(void) { struct made x = ready(0, 1); cudaFree(x.s[A].device); call(&x); }
static void operand_too_short(void) { struct made x = ready(0, 1); x.s[A].device += 64; call(&x); }
static void misaligned(void) { struct made x = ready(2, 2); x.s[A].device += 2; call(&x); }
static void unwritten(int operand, float beta)
{
    struct made x = ready(0, 1);
    x.j.beta = beta;
    cudaFree(x.s[operand].device);
    cudaMalloc((void **)&x.s[operand].device, (size_t)x.s[operand].values * 4);
    call(&x);
    cudaStreamSynchronize(stream);
}
static void never_written(void) { unwritten(A, 0); }
static void c_never_written(void) { unwritten(D, 1); }
static void other_shapes(void) { struct made x = ready(0, 1), y = ready(0, 3); y.chosen = x.chosen; call(&y); }
static void other_transposition(void) { struct made x = ready(0, 0); cublasOperation_t t = CUBLAS_OP_T; SET(MatmulDesc, x.desc, CUBLASLT_MATMUL_DESC_TRANSA, t); call(&x); }
static void invented_algorithm(void) { struct made x = ready(0, 1); memset(&x.chosen.algo, 0, sizeof x.chosen.algo); call(&x); }
static void workspace_too_small(void) { struct made x = ready(0, 1); x.chosen.workspaceSize--; call(&x); }
static void workspace_on_host(void) { struct made x = ready(0, 1); workspace = x.s[A].host; call(&x); }
static void workspace_misaligned(void) { struct made x = ready(0, 1); workspace += 8; call(&x); }
static void result_over_operand(void) { struct made x = ready(0, 2); x.s[D].device = x.s[A].device; call(&x); }
static void result_in_workspace(void) { struct made x = ready(0, 1); x.s[D].device = workspace; call(&x); }
static void shifted_in_place(void) { struct job j = job_of(0, 2); j.apart = true; j.beta = 1; struct made x = make(j); OK(choose(&x)); x.s[D].device = x.s[C].device + 16; call(&x); }
static void shapes_differ(void) { struct made x = make(job_of(0, 1)); uint64_t rows = 9; SET(MatrixLayout, x.s[D].layout, CUBLASLT_MATRIX_LAYOUT_ROWS, rows); choose(&x); }
static void short_lines(void) { struct made x = make(job_of(0, 1)); int64_t ld = 2; SET(MatrixLayout, x.s[A].layout, CUBLASLT_MATRIX_LAYOUT_LD, ld); choose(&x); }
static void results_overlap(void)
{
    struct job j = job_of(0, 1);
    int64_t stride = 4;
    j.batch = 2;
    struct made x = make(j);
    SET(MatrixLayout, x.s[D].layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
    choose(&x);
}
static void no_rows(void) { struct made x = make(job_of(0, 1)); uint64_t rows = 0; SET(MatrixLayout, x.s[D].layout, CUBLASLT_MATRIX_LAYOUT_ROWS, rows); choose(&x); }
static void host_scalar_as_device(void) { struct job j = job_of(0, 1); j.device_scalars = true; struct made x = make(j); OK(choose(&x)); x.scalars = NULL; call(&x); }
static void wrong_size_of_attribute(void) { struct made x = make(job_of(0, 1)); int64_t wide = 1; cublasLtMatmulDescSetAttribute(x.desc, CUBLASLT_MATMUL_DESC_TRANSA, &wide, 8); }
static void destroyed_twice(void) { cublasLtDestroy(handle); cublasLtDestroy(handle); }

#define MISUSE(name, words) { #name, name, words }
static const struct misuse misuses[] = {
    MISUSE(host_operand, "B is not device memory"), MISUSE(freed_operand, "A is"), MISUSE(operand_too_short, "leave their allocation"), MISUSE(misaligned, "needs it aligned to 16"),
    MISUSE(never_written, "cublasLtMatmul A"), MISUSE(c_never_written, "cublasLtMatmul C"), MISUSE(other_shapes, "chosen for another operation"),
    MISUSE(other_transposition, "chosen for another operation"), MISUSE(invented_algorithm, "did not come from the heuristic"), MISUSE(workspace_too_small, "of workspace"),
    MISUSE(workspace_on_host, "the workspace is not device memory"), MISUSE(workspace_misaligned, "the workspace is at"), MISUSE(result_over_operand, "A and D overlap"),
    MISUSE(result_in_workspace, "lies in the workspace"), MISUSE(shifted_in_place, "C and D overlap"), MISUSE(shapes_differ, "shapes do not fit"), MISUSE(short_lines, "leading dimension"),
    MISUSE(results_overlap, "matrices of D overlap"), MISUSE(no_rows, "is 0 x 5"), MISUSE(host_scalar_as_device, "pointer mode"), MISUSE(wrong_size_of_attribute, "8 are given"),
    MISUSE(destroyed_twice, "does not live"),
};

static void misuse_is_reported(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(misuses); i++) misuse_expect(&misuses[i]);
}

static int start(void **state)
{
    (void)state;
    ph_check_on(true);
    return cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) || cublasLtCreate(&handle) || cudaMalloc((void **)&workspace, WORKSPACE_BYTES);
}

static int end(void **state)
{
    (void)state;
    return cublasLtDestroy(handle) || cudaFree(workspace) || cudaStreamDestroy(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_numbers), cmocka_unit_test(products), cmocka_unit_test(epilogues_scalars_and_schemes), cmocka_unit_test(beta_zero_reads_nothing),
        cmocka_unit_test(refused), cmocka_unit_test(misuse_is_reported),
    };
    return cmocka_run_group_tests(tests, start, end);
}
