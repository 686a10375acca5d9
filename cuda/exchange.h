/* What the CUDA backend has of NCCL where there are several ranks: of comm.c, and the channels of channel.c. */
#ifndef SLUICE_CUDA_EXCHANGE_H
#define SLUICE_CUDA_EXCHANGE_H

#include "device.h"
#include "parts.h"

#include <nccl.h>

/* The library, which is loaded. */
#define NCCL_CALLS(X) \
    X(GetVersion) X(GetErrorString) X(GetLastError) X(GetUniqueId) X(CommInitRank) X(CommSplit) \
    X(CommGetAsyncError) X(CommDestroy) X(AllGather) X(AllReduce) X(Broadcast) X(GroupStart) X(Send) X(Recv) X(GroupEnd)
#define NCCL_DECLARE(name) __typeof__(nccl##name) *name;
extern struct nccl { NCCL_CALLS(NCCL_DECLARE) } nccl;

_Noreturn void exchange_fail(const char *file, int line, const char *call, ncclResult_t result, ncclComm_t comm);
#define NCCL(comm, call) do { \
    ncclResult_t result_ = (call); \
    if (result_ != ncclSuccess) exchange_fail(__FILE__, __LINE__, #call, result_, comm); \
} while (0)

/* The end of a channel that this rank has; comm NULL: it has none. Of the giver: a stream on which parcels go, a ring
   of copies of them, how many were given, and when each has gone. */
struct line {
    bool open; ncclComm_t comm;
    cudaStream_t stream; cudaEvent_t given, *gone;
    char *ring; int parcels; size_t bytes;
    int64_t n;
};

enum { GROUPS = 1 << AXES, BESIDE = 16 };
/* axes: those with several ranks; group: of the ranks along each set of these, NULL: this one alone. under_way: what
   the main stream has not met. told: messages that went beside it so far; there: when the latest of them are done;
   settled: up to which it waits. */
struct exchange {
    unsigned axes; ncclComm_t group[GROUPS];
    cudaStream_t stream; cudaEvent_t given, done; bool under_way;
    int64_t told, settled; cudaEvent_t there[BESIDE];
    float *gathered;
    int n_channels; struct line *channel;                   /* by number */
};

#endif
