/* cuBLASLt's products against plain sums, as the CUDA backend asks for them: every way round, odd sizes, gaps between
   lines, both types, batches, alpha and beta, NaN in a result that is not to be read; and the words of a failure. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "gemm.h"

enum { WORKSPACE = 4 << 20 };
static struct device device;
static int searches;

/* Stands before the library's, which it calls. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lt, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wish, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    searches++;
    cublasStatus_t (*next)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                           cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                           cublasLtMatmulHeuristicResult_t *, int *);
    *(void **)&next = dlsym(RTLD_NEXT, __func__);
    return next(lt, operation, a, b, c, d, wish, wanted, results, found);
}

/* A matrix or a batch of them on the host, as floats, and in device memory, as its type. */
struct block { enum gemm_type type; int64_t values; float *host; void *device; };

static uint16_t narrowed(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return isnan(x) ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float widened(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static size_t bytes_of(const struct block *b) { return (size_t)b->values * (b->type == GEMM_BF16 ? 2 : 4); }

static void send(struct block *b)
{
    uint16_t *half = malloc((size_t)b->values * 2);
    for (int64_t i = 0; i < b->values; i++) half[i] = narrowed(b->host[i]);
    CUDA(cudaMemcpy(b->device, b->type == GEMM_BF16 ? (void *)half : b->host, bytes_of(b), cudaMemcpyHostToDevice));
    free(half);
}

static struct block received(const struct block *from)
{
    struct block b = { .type = from->type, .values = from->values, .host = malloc((size_t)from->values * 4) };
    void *raw = malloc(bytes_of(from));
    CUDA(cudaStreamSynchronize(device.stream));
    CUDA(cudaMemcpy(raw, from->device, bytes_of(from), cudaMemcpyDeviceToHost));
    for (int64_t i = 0; i < b.values; i++)
        b.host[i] = b.type == GEMM_BF16 ? widened(((uint16_t *)raw)[i]) : ((float *)raw)[i];
    free(raw);
    return b;
}

/* Values that bf16 holds exactly: n/128, |n| <= 128. */
static struct block drawn(enum gemm_type type, int64_t values)
{
    struct block b = { .type = type, .values = values, .host = malloc((size_t)values * 4) };
    CUDA(cudaMalloc(&b.device, bytes_of(&b)));
    for (int64_t i = 0; i < values; i++) b.host[i] = (float)(rand() % 257 - 128) / 128;
    send(&b);
    return b;
}

static void drop(struct block *b)
{
    free(b->host);
    CUDA(cudaFree(b->device));
}

struct shape { int64_t m, n, k; };
static const struct shape shapes[] = { { 1, 1, 1 }, { 3, 5, 7 }, { 16, 32, 8 }, { 33, 17, 65 }, { 64, 48, 200 } };

/* Rounding of k sums in float, of the inputs to tf32 where that is named, and of the result to bf16. */
static double allowed(const struct gemm *g, double size, double value)
{
    return size * ((double)g->k * 0x1p-24 + (g->tf32 ? 0x1p-9 : 0)) +
           (g->out == GEMM_BF16 ? fabs(value) * 0x1p-8 : fabs(value) * 0x1p-23) + 1e-30;
}

static void check(const struct gemm *g, const struct block *a, const struct block *b, const struct block *before,
                  const struct block *after)
{
    int64_t end = 0;
    for (int e = 0; e < (g->batch ? g->batch : 1); e++)
        for (int64_t i = 0; i < g->m; i++)
            for (int64_t j = 0; j < g->n; j++) {
                double sum = 0, size = 0;
                for (int64_t p = 0; p < g->k; p++) {
                    double x = a->host[e * g->a_stride + (g->a_transposed ? p * g->a_row + i : i * g->a_row + p)];
                    double y = b->host[e * g->b_stride + (g->b_transposed ? j * g->b_row + p : p * g->b_row + j)];
                    sum += x * y;
                    size += fabs(x * y);
                }
                int64_t at = e * g->c_stride + i * g->c_row + j;
                double old = g->beta != 0 ? g->beta * before->host[at] : 0, want = g->alpha * sum + old;
                if (!(fabs(after->host[at] - want) <= allowed(g, fabs(g->alpha) * size + fabs(old), want)))
                    fail_msg("[%lld,%lld,%lld] row %lld, column %lld: %.9g for %.9g", (long long)g->m, (long long)g->n,
                             (long long)g->k, (long long)i, (long long)j, after->host[at], want);
                for (; end < at; end++) assert_true(isnan(after->host[end]) && isnan(before->host[end]));
                end = at + 1;
            }
}

/* gap: values between the lines; what stands there in C, and all of C where beta is 0, is NaN. */
static void compare(struct gemm g, int64_t gap)
{
    int batch = g.batch ? g.batch : 1;
    g.a_row = (g.a_transposed ? g.m : g.k) + gap;
    g.b_row = (g.b_transposed ? g.k : g.n) + gap;
    g.c_row = g.n + gap;
    if (batch > 1) {
        g.a_stride = g.a_row * (g.a_transposed ? g.k : g.m) + gap;
        g.c_stride = g.c_row * g.m + gap;
    }
    struct block a = drawn(g.in, g.a_stride * (batch - 1) + g.a_row * (g.a_transposed ? g.k : g.m)),
                 b = drawn(g.in, g.b_row * (g.b_transposed ? g.n : g.k));
    struct block c = drawn(g.out, g.c_stride * (batch - 1) + g.c_row * g.m);
    for (int64_t i = 0; i < c.values; i++) {
        int64_t at = batch > 1 ? i % g.c_stride : i;
        if (g.beta == 0 || at / g.c_row >= g.m || at % g.c_row >= g.n) c.host[i] = NAN;
    }
    send(&c);
    g.a = a.device; g.b = b.device; g.c = c.device;
    gemm(&device, &g);
    struct block after = received(&c);
    check(&g, &a, &b, &c, &after);
    free(after.host);
    drop(&a); drop(&b); drop(&c);
}

static void every_way(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int way = 0; way < 64; way++)
            compare((struct gemm){ .m = shapes[s].m, .n = shapes[s].n, .k = shapes[s].k, .a_transposed = way & 1,
                                   .b_transposed = way & 2,
                                   .in = way & 4 ? GEMM_BF16 : GEMM_F32, .out = (way & 12) == 12 ? GEMM_BF16 : GEMM_F32,
                                   .alpha = way & 16 ? -0.5f : 1, .beta = way & 32 ? 1 : 0, .batch = way % 5 ? 0 : 3 },
                                   way % 3);
}

static void tf32_where_named(void **state)
{
    (void)state;
    const float x[2] = { 1 + 0x1p-20f, 1 };
    for (int tf32 = 0; tf32 < 2; tf32++) {
        struct block a = drawn(GEMM_F32, 1), b = drawn(GEMM_F32, 1), c = drawn(GEMM_F32, 1);
        a.host[0] = x[0];
        b.host[0] = x[1];
        send(&a);
        send(&b);
        gemm(&device, &(struct gemm){ .m = 1, .n = 1, .k = 1, .a = a.device, .b = b.device, .c = c.device, .a_row = 1,
                                      .b_row = 1, .c_row = 1, .alpha = 1, .tf32 = tf32 });
        struct block after = received(&c);
        assert_true(after.host[0] == x[tf32]);
        free(after.host);
        drop(&a); drop(&b); drop(&c);
    }
}

/* A kind of product is planned once, whatever its addresses and factors; one less aligned, as part of a larger matrix
   may be, anew. */
static void planned_once(void **state)
{
    (void)state;
    int before = searches;
    struct block a = drawn(GEMM_BF16, 8 + 24 * 40), b = drawn(GEMM_BF16, 1 + 40 * 16), c = drawn(GEMM_F32, 24 * 16);
    struct gemm g = { .m = 24, .n = 16, .k = 40, .a = a.device, .b = b.device, .c = c.device, .in = GEMM_BF16,
                      .a_row = 40, .b_row = 16, .c_row = 16, .alpha = 1 };
    gemm(&device, &g);
    g.alpha = 3;
    g.a = (uint16_t *)a.device + 8;
    gemm(&device, &g);
    assert_int_equal(searches, before + 1);
    g.alpha = 1;
    g.a = (uint16_t *)a.device + 1;
    gemm(&device, &g);
    assert_int_equal(searches, before + 2);
    struct block after = received(&c), shifted = a;
    shifted.host++;
    check(&g, &shifted, &b, &c, &after);
    free(after.host);
    g.a = a.device;
    g.b = (uint16_t *)b.device + 1;
    gemm(&device, &g);
    assert_int_equal(searches, before + 3);
    after = received(&c);
    shifted = b;
    shifted.host++;
    check(&g, &a, &shifted, &c, &after);
    free(after.host);
    drop(&a); drop(&b); drop(&c);
}

/* A step is recorded before it has run once: planning must be possible meanwhile. */
static void recorded(void **state)
{
    (void)state;
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    struct block a = drawn(GEMM_F32, 9 * 11), b = drawn(GEMM_F32, 11 * 13), c = drawn(GEMM_F32, 9 * 13);
    struct gemm g = { .m = 9, .n = 13, .k = 11, .a = a.device, .b = b.device, .c = c.device, .a_row = 11, .b_row = 13,
                      .c_row = 13, .alpha = 1, .beta = 1 };
    CUDA(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal));
    gemm(&device, &g);
    CUDA(cudaStreamEndCapture(device.stream, &graph));
    CUDA(cudaGraphInstantiate(&ready, graph, 0));
    for (int i = 0; i < 2; i++) CUDA(cudaGraphLaunch(ready, device.stream));
    struct block after = received(&c);
    g.alpha = 2;
    check(&g, &a, &b, &c, &after);
    CUDA(cudaGraphExecDestroy(ready));
    CUDA(cudaGraphDestroy(graph));
    free(after.host);
    drop(&a); drop(&b); drop(&c);
}

static void failure_names_the_product(void **state)
{
    (void)state;
    int pipe_of[2], status;
    char text[1024] = "";
    fflush(NULL);
    assert_int_equal(pipe(pipe_of), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_of[1], STDERR_FILENO);
        gemm(&device, &(struct gemm){ .m = 5, .n = 6, .k = 7, .a_row = 7, .b_row = 6, .c_row = 6, .in = GEMM_F32,
                                      .out = GEMM_BF16, .alpha = 1 });
        _exit(0);
    }
    close(pipe_of[1]);
    for (size_t length = 0; length < sizeof text - 1; ) {
        ssize_t n = read(pipe_of[0], text + length, sizeof text - 1 - length);
        if (n <= 0) break;
        length += (size_t)n;
    }
    close(pipe_of[0]);
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_non_null(strstr(text, "cublasLtMatmulAlgoGetHeuristic"));
    assert_non_null(strstr(text, "CUBLAS_STATUS_NOT_SUPPORTED"));
    assert_non_null(strstr(text, "[5,7] x [7,6] of f32 to bf16"));
}

static int start(void **state)
{
    (void)state;
    device.workspace_bytes = WORKSPACE;
    CUDA(cudaStreamCreateWithFlags(&device.stream, cudaStreamNonBlocking));
    CUDA(cudaMalloc(&device.workspace, device.workspace_bytes));
    gemm_open(&device);
    return 0;
}

static int end(void **state)
{
    (void)state;
    CUDA(cudaStreamSynchronize(device.stream));
    gemm_close(&device);
    CUDA(cudaFree(device.workspace));
    CUDA(cudaStreamDestroy(device.stream));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way), cmocka_unit_test(tf32_where_named), cmocka_unit_test(planned_once),
        cmocka_unit_test(recorded), cmocka_unit_test(failure_names_the_product),
    };
    return cmocka_run_group_tests(tests, start, end);
}
