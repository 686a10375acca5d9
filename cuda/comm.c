/* What the GPUs of several ranks exchange, by NCCL, on a stream of its own: beside what is given to the main stream
   next, up to meet. Events alone order the two, so that all of it can be recorded with a step. NCCL is loaded when
   there are several ranks: one needs none. */
#include "exchange.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 20 };                                    /* bytes of `gathered` */

const struct comm *(*comm_of_program)(void);    /* the program's own; a backend is a shared object by itself */
const struct comm *comm_here(void) { return comm_of_program(); }

/* ---- the library ---- */

#define FIND(name) && (*(void **)&nccl.name = dlsym(library, "nccl" #name))
struct nccl nccl;

/* NULL, or what is missing. */
static const char *find_library(void)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    return library NCCL_CALLS(FIND) ? NULL : dlerror();
}

void exchange_describe(char text[64])
{
    int version = 0;
    if (find_library() || nccl.GetVersion(&version) != ncclSuccess)
        snprintf(text, 64, "no NCCL, which several ranks need");
    else snprintf(text, 64, "NCCL %d.%d", version / 10000, version % 10000 / 100);
}

/* ---- failures ---- */

void exchange_fail(const char *file, int line, const char *call, ncclResult_t result, ncclComm_t comm)
{
    char says[600];
    snprintf(says, sizeof says, "rank %d of %d: %s; %.400s", comm_here()->rank, comm_here()->ranks,
             nccl.GetErrorString(result), nccl.GetLastError(comm));
    library_fail(file, line, call, says);
}

/* What went wrong while exchanges ran. */
static void check_one(ncclComm_t comm)
{
    ncclResult_t result = ncclSuccess;
    if (!comm) return;
    NCCL(comm, nccl.CommGetAsyncError(comm, &result));
    if (result != ncclSuccess) exchange_fail(__FILE__, __LINE__, "an exchange between GPUs", result, comm);
}

static void check(const struct exchange *x)
{
    for (int i = 0; i < GROUPS; i++) check_one(x->group[i]);
    for (int i = 0; i < x->n_channels; i++) check_one(x->channel[i].comm);
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
    x->under_way = true;
    return x;
}

static ncclComm_t group_of(const struct exchange *x, unsigned over) { return x->group[over & x->axes]; }

/* NCCL's maximum loses NaN: the values of all ranks come to each, and are compared here. */
static void reduce_largest(struct exchange *x, float *data, int64_t n, unsigned over)
{
    ncclComm_t group = group_of(x, over);
    int ranks = place_group(&comm_here()->place, over);
    int64_t most = ROOM / (int64_t)sizeof *data / ranks;
    for (int64_t at = 0, some; at < n; at += some) {
        some = n - at < most ? n - at : most;
        NCCL(group, nccl.AllGather(data + at, x->gathered, (size_t)some, ncclFloat32, group, x->stream));
        cuda_largest(x->stream, data + at, x->gathered, (int)some, ranks);
    }
}

void device_reduce(void *device, real *data, int64_t n, enum reduction how, unsigned over)
{
    struct exchange *x = begin(device);
    ncclComm_t group = group_of(x, over);
    if (!group) return;
    if (how == REDUCE_MAX) reduce_largest(x, data, n, over);
    else NCCL(group, nccl.AllReduce(data, data, (size_t)n, ncclFloat32, ncclSum, group, x->stream));
}

void device_broadcast(void *device, void *data, size_t bytes, int root, unsigned over)
{
    struct exchange *x = begin(device);
    ncclComm_t group = group_of(x, over);
    int number = place_index(&(struct place){ comm_here()->place.mesh, root }, over);
    if (group) NCCL(group, nccl.Broadcast(data, data, bytes, ncclUint8, number, group, x->stream));
}

void device_exchange(struct device *d, const struct parcel *parcels, int n)
{
    struct exchange *x = begin(d);
    ncclComm_t all = group_of(x, OVER_ALL);
    NCCL(all, nccl.GroupStart());
    for (const struct parcel *p = parcels; p < parcels + n; p++)
        NCCL(all, p->receives ? nccl.Recv(p->data, p->bytes, ncclUint8, p->peer, all, x->stream)
                              : nccl.Send(p->data, p->bytes, ncclUint8, p->peer, all, x->stream));
    NCCL(all, nccl.GroupEnd());
    device_meet(d);
}

/* Nothing under way: nothing to wait for, and what is recorded with a step has no event of before it. */
void device_meet(void *device)
{
    struct device *d = device;
    struct exchange *x = d->exchange;
    if (!x->under_way) return;
    CUDA(cudaEventRecord(x->done, x->stream));
    CUDA(cudaStreamWaitEvent(d->stream, x->done, 0));
    x->under_way = false;
}

/* What a message's kernel launches goes on the stream of exchanges. */
int64_t device_beside(void *device, kernel *run, const struct args *a)
{
    struct device *d = device;
    struct exchange *x = begin(d);
    cudaStream_t main = d->stream;
    d->stream = x->stream;
    run(a);
    d->stream = main;
    CUDA(cudaEventRecord(x->there[x->told % BESIDE], x->stream));
    return ++x->told;
}

/* An event that is used again is that of a later message, which comes after this one. */
void device_settle(void *device, int64_t number)
{
    struct device *d = device;
    struct exchange *x = d->exchange;
    if (!x) return;
    if (number > x->told) number = x->told;
    if (number <= x->settled) return;
    CUDA(cudaStreamWaitEvent(d->stream, x->there[(number - 1) % BESIDE], 0));
    x->settled = number;
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
        c->broadcast(&other, sizeof other, rank, OVER_ALL);
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

/* A communicator for all ranks, and one for each set of axes that are some of them. */
static void join(struct exchange *x)
{
    const struct comm *c = comm_here();
    const struct place *here = &c->place;
    ncclUniqueId id;
    for (int a = 0; a < AXES; a++) if (place_group(here, 1u << a) > 1) x->axes |= 1u << a;
    ncclComm_t *all = &x->group[x->axes];
    if (c->rank == 0) NCCL(NULL, nccl.GetUniqueId(&id));
    c->broadcast(&id, sizeof id, 0, OVER_ALL);
    NCCL(NULL, nccl.CommInitRank(all, c->ranks, id, c->rank));
    for (unsigned over = 1; over < x->axes; over++)
        if ((over & ~x->axes) == 0)
            NCCL(*all, nccl.CommSplit(*all, place_index(here, OVER_ALL & ~over), place_index(here, over),
                                      &x->group[over], NULL));
}

void exchange_open(struct device *d)
{
    const struct comm *c = comm_here();
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
    join(x);
    CUDA(cudaDeviceGetStreamPriorityRange(&least, &most));
    CUDA(cudaStreamCreateWithPriority(&x->stream, cudaStreamNonBlocking, most));   /* what others wait for goes first */
    CUDA(cudaEventCreateWithFlags(&x->given, cudaEventDisableTiming));
    CUDA(cudaEventCreateWithFlags(&x->done, cudaEventDisableTiming));
    for (int i = 0; i < BESIDE; i++) CUDA(cudaEventCreateWithFlags(&x->there[i], cudaEventDisableTiming));
    CUDA(cudaMalloc((void **)&x->gathered, ROOM));
}

void exchange_close(struct device *d)
{
    struct exchange *x = d->exchange;
    if (!x) return;
    CUDA(cudaStreamSynchronize(x->stream));
    for (int i = 0; i < GROUPS; i++) if (x->group[i]) NCCL(x->group[i], nccl.CommDestroy(x->group[i]));
    CUDA(cudaFree(x->gathered));
    CUDA(cudaEventDestroy(x->given));
    CUDA(cudaEventDestroy(x->done));
    for (int i = 0; i < BESIDE; i++) CUDA(cudaEventDestroy(x->there[i]));
    CUDA(cudaStreamDestroy(x->stream));
    free(x);
}
