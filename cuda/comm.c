/* What the GPUs of several ranks exchange, by NCCL, on a stream of its own: beside what is given to the main stream
   next, up to meet. Events alone order the two, so that all of it can be recorded with a step. NCCL is loaded when
   there are several ranks: one needs none. */
#include "device.h"
#include "parts.h"

#include <dlfcn.h>
#include <nccl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct exchange { ncclComm_t comm; cudaStream_t stream; cudaEvent_t given, done; float *gathered; };
enum { ROOM = 1 << 20 };                                    /* bytes of `gathered` */

const struct comm *(*comm_of_program)(void);    /* the program's own; a backend is a shared object by itself */
const struct comm *comm_here(void) { return comm_of_program(); }

/* ---- the library ---- */

#define CALLS(X) \
    X(GetVersion) X(GetErrorString) X(GetLastError) X(GetUniqueId) X(CommInitRank) X(CommGetAsyncError) \
    X(CommDestroy) X(AllGather) X(AllReduce) X(Broadcast)
#define DECLARE(name) __typeof__(nccl##name) *name;
#define FIND(name) && (*(void **)&nccl.name = dlsym(library, "nccl" #name))
static struct { CALLS(DECLARE) } nccl;

/* NULL, or what is missing. */
static const char *find_library(void)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    return library CALLS(FIND) ? NULL : dlerror();
}

void exchange_describe(char text[64])
{
    int version = 0;
    if (find_library() || nccl.GetVersion(&version) != ncclSuccess)
        snprintf(text, 64, "no NCCL, which several ranks need");
    else snprintf(text, 64, "NCCL %d.%d", version / 10000, version % 10000 / 100);
}

/* ---- failures ---- */

static _Noreturn void fail(const char *file, int line, const char *call, ncclResult_t result, ncclComm_t comm)
{
    char says[600];
    snprintf(says, sizeof says, "rank %d of %d: %s; %.400s", comm_here()->rank, comm_here()->ranks,
             nccl.GetErrorString(result), nccl.GetLastError(comm));
    library_fail(file, line, call, says);
}
#define NCCL(comm, call) do { \
    ncclResult_t result_ = (call); \
    if (result_ != ncclSuccess) fail(__FILE__, __LINE__, #call, result_, comm); \
} while (0)

/* What went wrong while exchanges ran. */
static void check(const struct exchange *x)
{
    ncclResult_t result = ncclSuccess;
    NCCL(x->comm, nccl.CommGetAsyncError(x->comm, &result));
    if (result != ncclSuccess) fail(__FILE__, __LINE__, "an exchange between GPUs", result, x->comm);
}

void device_wait(struct device *d, cudaEvent_t event)
{
    cudaError_t status = cudaSuccess;
    if (!d->exchange) { CUDA(event ? cudaEventSynchronize(event) : cudaStreamSynchronize(d->stream)); return; }
    double until = clock_seconds() + comm_here()->patience;
    while ((status = event ? cudaEventQuery(event) : cudaStreamQuery(d->stream)) == cudaErrorNotReady) {
        cudaGetLastError();                                 /* which is that of the query now: forgotten */
        check(d->exchange);
        if (clock_seconds() > until) {
            fprintf(stderr,
                    "cuda: rank %d of %d: what the GPUs exchange was not done within %g s: another rank may have died, "
                    "see its messages above\n",
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
        NCCL(x->comm, nccl.AllGather(data + at, x->gathered, (size_t)some, ncclFloat32, x->comm, x->stream));
        cuda_largest(x->stream, data + at, x->gathered, (int)some, ranks);
    }
}

void device_reduce(void *device, real *data, int64_t n, enum reduction how)
{
    struct exchange *x = begin(device);
    if (how == REDUCE_MAX) reduce_largest(x, data, n);
    else NCCL(x->comm, nccl.AllReduce(data, data, (size_t)n, ncclFloat32, ncclSum, x->comm, x->stream));
}

void device_broadcast(void *device, void *data, size_t bytes, int root)
{
    struct exchange *x = begin(device);
    NCCL(x->comm, nccl.Broadcast(data, data, bytes, ncclUint8, root, x->comm, x->stream));
}

void device_meet(void *device)
{
    struct device *d = device;
    CUDA(cudaEventRecord(d->exchange->done, d->exchange->stream));
    CUDA(cudaStreamWaitEvent(d->stream, d->exchange->done, 0));
}

/* ---- joining and leaving ---- */

/* NCCL would wait for ever, or say something else, where two ranks have one GPU. */
static void need_own_gpu(int number)
{
    const struct comm *c = comm_here();
    struct cudaDeviceProp own;
    int shared = -1;
    CUDA(cudaGetDeviceProperties(&own, number));
    for (int rank = 0; rank < c->ranks; rank++) {
        cudaUUID_t other = own.uuid;
        c->broadcast(&other, sizeof other, rank);
        if (rank < c->rank && shared < 0 && memcmp(&other, &own.uuid, sizeof other) == 0) shared = rank;
    }
    if (shared < 0) return;
    fprintf(stderr,
            "cuda: ranks %d and %d of %d have the same GPU, %s: each needs one of its own\n"
            "  launch as many ranks on a machine as it has GPUs, and let all of them see all GPUs, or each its own "
            "(CUDA_VISIBLE_DEVICES)\n",
            shared, c->rank, c->ranks, own.name);
    exit(7);
}

void exchange_open(struct device *d)
{
    const struct comm *c = comm_here();
    ncclUniqueId id;
    int least, most;
    if (c->ranks == 1) return;
    const char *missing = find_library();
    if (missing) {
        fprintf(stderr,
                "cuda: several ranks exchange by NCCL, which cannot be loaded: %s\n  it comes with the CUDA Toolkit: "
                "name its folder in LD_LIBRARY_PATH\n",
                missing);
        exit(7);
    }
    need_own_gpu(d->number);
    struct exchange *x = d->exchange = xcalloc(1, sizeof *x);
    if (c->rank == 0) NCCL(NULL, nccl.GetUniqueId(&id));
    c->broadcast(&id, sizeof id, 0);
    NCCL(NULL, nccl.CommInitRank(&x->comm, c->ranks, id, c->rank));
    CUDA(cudaDeviceGetStreamPriorityRange(&least, &most));
    CUDA(cudaStreamCreateWithPriority(&x->stream, cudaStreamNonBlocking, most));   /* what others wait for goes first */
    CUDA(cudaEventCreateWithFlags(&x->given, cudaEventDisableTiming));
    CUDA(cudaEventCreateWithFlags(&x->done, cudaEventDisableTiming));
    CUDA(cudaMalloc((void **)&x->gathered, ROOM));
}

void exchange_close(struct device *d)
{
    struct exchange *x = d->exchange;
    if (!x) return;
    CUDA(cudaStreamSynchronize(x->stream));
    NCCL(x->comm, nccl.CommDestroy(x->comm));
    CUDA(cudaFree(x->gathered));
    CUDA(cudaEventDestroy(x->given));
    CUDA(cudaEventDestroy(x->done));
    CUDA(cudaStreamDestroy(x->stream));
    free(x);
}
