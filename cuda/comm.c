/* What the GPUs of several ranks exchange, by NCCL, on a stream of its own: beside what is given to the main stream next, up to meet. Events
   alone order the two, so that all of it can be recorded with a step. */
#include "device.h"
#include "parts.h"

#include <nccl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

struct exchange { ncclComm_t comm; cudaStream_t stream; cudaEvent_t given, done; float *gathered; };
enum { ROOM = 1 << 20 };                                    /* bytes of `gathered` */

const struct comm *(*comm_of_program)(void);                /* the program's own; a backend is a shared object by itself */
const struct comm *comm_here(void) { return comm_of_program(); }

/* ---- failures ---- */

static _Noreturn void fail(const char *file, int line, const char *call, ncclResult_t result, ncclComm_t comm)
{
    char says[600];
    snprintf(says, sizeof says, "rank %d of %d: %s; %.400s", comm_here()->rank, comm_here()->ranks, ncclGetErrorString(result), ncclGetLastError(comm));
    cuda_fail(file, line, call, says);
}
#define NCCL(comm, call) do { \
    ncclResult_t result_ = (call); \
    if (result_ != ncclSuccess) fail(__FILE__, __LINE__, #call, result_, comm); \
} while (0)

/* What went wrong while exchanges ran. */
static void check(const struct exchange *x)
{
    ncclResult_t result = ncclSuccess;
    NCCL(x->comm, ncclCommGetAsyncError(x->comm, &result));
    if (result != ncclSuccess) fail(__FILE__, __LINE__, "an exchange between GPUs", result, x->comm);
}

void device_wait(struct device *d)
{
    cudaError_t status = cudaSuccess;
    if (!d->exchange) { CUDA(cudaStreamSynchronize(d->stream)); return; }
    double until = clock_seconds() + comm_here()->patience;
    while ((status = cudaStreamQuery(d->stream)) == cudaErrorNotReady) {
        cudaGetLastError();                                 /* which is that of the query now: forgotten */
        check(d->exchange);
        if (clock_seconds() > until) {
            fprintf(stderr, "cuda: rank %d of %d: what the GPUs exchange was not done within %g s: another rank may have died, see its messages above\n",
                    comm_here()->rank, comm_here()->ranks, comm_here()->patience);
            exit(7);
        }
        sched_yield();
    }
    CUDA(status);
    check(d->exchange);
}

/* ---- exchanges ---- */

static struct exchange *begin(struct device *d)
{
    struct exchange *x = d->exchange;
    CUDA(cudaEventRecord(x->given, d->stream));
    CUDA(cudaStreamWaitEvent(x->stream, x->given, 0));
    return x;
}

/* NCCL's maximum loses NaN: the values of all ranks come to each, and are compared here. */
static void reduce_largest(struct exchange *x, float *data, int64_t n)
{
    int ranks = comm_here()->ranks;
    int64_t most = ROOM / (int64_t)sizeof *data / ranks;
    for (int64_t at = 0, some; at < n; at += some) {
        some = n - at < most ? n - at : most;
        NCCL(x->comm, ncclAllGather(data + at, x->gathered, (size_t)some, ncclFloat32, x->comm, x->stream));
        cuda_largest(x->stream, data + at, x->gathered, (int)some, ranks);
    }
}

void device_reduce(void *device, real *data, int64_t n, enum reduction how)
{
    struct exchange *x = begin(device);
    if (how == REDUCE_MAX) reduce_largest(x, data, n);
    else NCCL(x->comm, ncclAllReduce(data, data, (size_t)n, ncclFloat32, ncclSum, x->comm, x->stream));
}

void device_broadcast(void *device, void *data, size_t bytes, int root)
{
    struct exchange *x = begin(device);
    NCCL(x->comm, ncclBroadcast(data, data, bytes, ncclUint8, root, x->comm, x->stream));
}

void device_meet(void *device)
{
    struct device *d = device;
    CUDA(cudaEventRecord(d->exchange->done, d->exchange->stream));
    CUDA(cudaStreamWaitEvent(d->stream, d->exchange->done, 0));
}

/* ---- joining and leaving ---- */

void exchange_open(struct device *d)
{
    const struct comm *c = comm_here();
    ncclUniqueId id;
    int least, most;
    if (c->ranks == 1) return;
    struct exchange *x = d->exchange = xcalloc(1, sizeof *x);
    if (c->rank == 0) NCCL(NULL, ncclGetUniqueId(&id));
    c->broadcast(&id, sizeof id, 0);
    NCCL(NULL, ncclCommInitRank(&x->comm, c->ranks, id, c->rank));
    CUDA(cudaDeviceGetStreamPriorityRange(&least, &most));
    CUDA(cudaStreamCreateWithPriority(&x->stream, cudaStreamNonBlocking, most));       /* what others wait for goes first */
    CUDA(cudaEventCreateWithFlags(&x->given, cudaEventDisableTiming));
    CUDA(cudaEventCreateWithFlags(&x->done, cudaEventDisableTiming));
    CUDA(cudaMalloc((void **)&x->gathered, ROOM));
}

void exchange_close(struct device *d)
{
    struct exchange *x = d->exchange;
    if (!x) return;
    CUDA(cudaStreamSynchronize(x->stream));
    NCCL(x->comm, ncclCommDestroy(x->comm));
    CUDA(cudaFree(x->gathered));
    CUDA(cudaEventDestroy(x->given));
    CUDA(cudaEventDestroy(x->done));
    CUDA(cudaStreamDestroy(x->stream));
    free(x);
}
