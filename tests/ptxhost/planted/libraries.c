/* Planted bugs in calls of cuBLASLt and NCCL. */
#include "planted.h"

#include <cublasLt.h>
#include <nccl.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum { M = 48, N = 32, K = 64 };

static cudaStream_t new_stream(void)
{
    cudaStream_t s = NULL;
    cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    return s;
}

/* ---- a product D[M,N] = A[M,K] B[K,N], by columns ---- */

struct product { const float *a, *b; float *d; int64_t ld; };

static void multiply(const struct product *p)
{
    cudaStream_t s = new_stream();
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t found = { 0 };
    float one = 1, zero = 0;
    int n = 0;
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, M, K, p->ld);
    cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, K, N, K);
    cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, M, N, M);
    cublasLtMatmulPreferenceCreate(&wish);
    if (cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, wish, 1, &found, &n) == CUBLAS_STATUS_SUCCESS && n == 1)
        cublasLtMatmul(handle, desc, &one, p->a, a, p->b, b, &zero, p->d, d, p->d, d, &found.algo, NULL, 0, s);
    cudaStreamSynchronize(s);
}

static struct product product(void)
{
    return (struct product){ planted_floats(M * K + 4, true), planted_floats(K * N, true), planted_floats(M * N, false), M };
}

static void short_lines(bool bug)
{
    struct product p = product();
    if (bug) p.ld = M - 8;
    multiply(&p);
}

static void misaligned_operand(bool bug)
{
    struct product p = product();
    if (bug) p.a++;
    multiply(&p);
}

static void host_operand(bool bug)
{
    static float host[K * N];
    struct product p = product();
    if (bug) p.b = host;
    multiply(&p);
}

static void unwritten_operand(bool bug)
{
    struct product p = product();
    if (bug) p.a = planted_floats(M * K, false);
    multiply(&p);
}

static void result_over_operand(bool bug)
{
    struct product p = product();
    if (bug) p.d = (float *)(uintptr_t)p.a;
    multiply(&p);
}

static void short_result(bool bug)
{
    struct product p = product();
    if (bug) p.d = planted_floats(M * (N - 1), false);
    multiply(&p);
}

/* ---- two ranks ---- */

typedef void collective(bool odd, float *to, const float *from, ncclComm_t comm, cudaStream_t s);

static void rank(int r, ncclUniqueId id, collective *call, bool bug)
{
    ncclComm_t comm;
    cudaStream_t s = new_stream();
    if (ncclCommInitRank(&comm, 2, id, r) != ncclSuccess) exit(PLANTED_WRONG);
    call(bug && r == 1, planted_floats(N, false), planted_floats(N, true), comm, s);
    cudaStreamSynchronize(s);
    if (bug) ncclCommAbort(comm);
    else ncclCommDestroy(comm);
}

/* Both ranks call the same, but with the bug rank 1 does it in an odd way. */
static void two_ranks(collective *call, bool bug)
{
    ncclUniqueId id;
    int status = 0;
    ncclGetUniqueId(&id);
    pid_t other = fork();
    rank(other == 0, id, call, bug);
    if (other == 0) exit(0);
    waitpid(other, &status, 0);
    if (status) exit(WEXITSTATUS(status));
}

static void different_collective_call(bool odd, float *to, const float *from, ncclComm_t comm, cudaStream_t s)
{
    if (odd) ncclBroadcast(from, to, N, ncclFloat32, 0, comm, s);
    else ncclAllReduce(from, to, N, ncclFloat32, ncclSum, comm, s);
}

static void different_count_call(bool odd, float *to, const float *from, ncclComm_t comm, cudaStream_t s)
{
    ncclAllReduce(from, to, odd ? N - 1 : N, ncclFloat32, ncclSum, comm, s);
}

static void host_buffer_call(bool odd, float *to, const float *from, ncclComm_t comm, cudaStream_t s)
{
    static float host[N];
    ncclAllReduce(odd ? host : from, to, N, ncclFloat32, ncclSum, comm, s);
}

static void different_collective(bool bug) { two_ranks(different_collective_call, bug); }
static void different_count(bool bug) { two_ranks(different_count_call, bug); }
static void host_buffer(bool bug) { two_ranks(host_buffer_call, bug); }

#define ROW(name, words) { #name, name, words, 0 }

const struct planted planted_libraries[] = {
    ROW(short_lines, "leading dimension"), ROW(misaligned_operand, "aligned to"), ROW(host_operand, "B is not device memory"),
    ROW(unwritten_operand, "cublasLtMatmul A"), ROW(result_over_operand, "overlap"), ROW(short_result, "leave their allocation"),
    ROW(different_collective, "the ranks call different things"), ROW(different_count, "the ranks call different things"), ROW(host_buffer, "is not device memory"),
    { NULL, NULL, NULL, 0 }
};
