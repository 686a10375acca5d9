/* Communicators of NCCL: made, split, asked, left. */
#include "nccl_ranks.h"
#include "ptxhost.h"
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <string.h>

static struct ncclComm comms[256];
static int made;

bool comm_is_live(const struct ncclComm *c) { return c >= comms && c < comms + made && c->live; }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0, sizeof *id);
    ranks_name(id->internal);
    return ncclSuccess;
}

/* Waits for the others. Nobody has one that could not be made. */
static ncclResult_t join(struct ncclComm *c, const char *name, ncclComm_t *to)
{
    if (cudaGetDevice(&c->device) || cudaEventCreateWithFlags(&c->order, cudaEventDisableTiming)) return ncclUnhandledCudaError;
    if (!ranks_join(c, name)) return c->error ? c->error : ncclSystemError;
    c->live = true;
    *to = c;
    return ncclSuccess;
}

static struct ncclComm *new_comm(int ranks, int rank)
{
    if (made == (int)(sizeof comms / sizeof *comms)) return NULL;
    struct ncclComm *c = &comms[made++];
    c->rank = rank;
    c->ranks = ranks;
    for (int r = 0; r < ranks; r++) c->first[r] = r;
    return c;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    if (ranks < 1 || ranks > RANKS || rank < 0 || rank >= ranks || id.internal[0] != '/' || memchr(id.internal, 0, 64) == NULL) {
        ph_report("nccl: ncclCommInitRank: rank %d of %d (at most %d), or an id that ncclGetUniqueId did not make", rank, ranks, RANKS);
        return ncclInvalidArgument;
    }
    struct ncclComm *c = new_comm(ranks, rank);
    return c ? join(c, id.internal, comm) : ncclSystemError;
}

/* ---- splitting ---- */

static bool split_check(struct ncclComm *c, int color, const ncclConfig_t *config)
{
    static const ncclConfig_t usual = NCCL_CONFIG_INITIALIZER;
    if (color < 0 && color != NCCL_SPLIT_NOCOLOR)
        return ranks_mistake(c, "ncclCommSplit with color %d: neither 0 or more nor NCCL_SPLIT_NOCOLOR", color);
    if (c->running || c->pending)
        return ranks_mistake(c, "ncclCommSplit while operations of the communicator have not run (%lld): wait for their streams first",
                             (long long)c->pending);
    if (!config) return true;
    if (config->magic != usual.magic || config->size != usual.size)
        return ranks_mistake(c, "ncclCommSplit with a config that is not NCCL_CONFIG_INITIALIZER's");
    return config->blocking != 0 || ranks_mistake(c, "ncclCommSplit with a config that does not block, which is not modelled");
}

/* Those of one color, in the order of keys, and of ranks where keys are equal. The first has drawn the name of their segment. */
static struct ncclComm *members(const struct ncclComm *c, char name[64])
{
    const struct seat *seat = c->shared->seat, *own = &seat[c->rank];
    int member[RANKS], n = 0, rank = 0;
    for (int r = 0; r < c->ranks; r++) {
        if (seat[r].color != own->color) continue;
        int at = n++;
        for (; at > 0 && seat[member[at - 1]].key > seat[r].key; at--) member[at] = member[at - 1];
        member[at] = r;
    }
    while (member[rank] != c->rank) rank++;
    struct ncclComm *new = new_comm(n, rank);
    if (!new) return NULL;
    new->split = true;
    for (int r = 0; r < n; r++) new->first[r] = c->first[member[r]];
    snprintf(name, 64, "%s", seat[member[0]].child);
    return new;
}

/* All ranks of c call it, and return when all of a color have. The new one has no tie to the old, whatever splitShare says. */
ncclResult_t ncclCommSplit(ncclComm_t c, int color, int key, ncclComm_t *to, ncclConfig_t *config)
{
    char name[64];
    struct ncclComm *new = NULL;
    *to = NULL;
    if (!comm_is_live(c)) {
        ph_report("nccl: ncclCommSplit of a communicator that does not live");
        return ncclInvalidArgument;
    }
    if (c->error) return c->error;
    if (!split_check(c, color, config)) return ncclInvalidUsage;
    struct seat *seat = &c->shared->seat[c->rank];
    seat->call = (struct call){ .op = SPLIT, .number = ++c->collectives };
    seat->color = color;
    seat->key = key;
    ranks_name(seat->child);
    const struct call call = seat->call;
    c->splits = true;                                       /* a graph's operations have to wait */
    bool agreed = ranks_meet(c, &call) && ranks_same(c, &call);
    if (agreed && color != NCCL_SPLIT_NOCOLOR) new = members(c, name);
    agreed = agreed && ranks_meet(c, &call);                /* all have read what the seats show */
    c->splits = false;
    if (!agreed) return c->error;
    if (color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
    return new ? join(new, name, to) : ncclSystemError;
}

/* ---- leaving and asking ---- */

static ncclResult_t leave(ncclComm_t comm, const char *call, enum presence how)
{
    if (!comm_is_live(comm)) {
        ph_report("nccl: %s of a communicator that does not live", call);
        return ncclInvalidArgument;
    }
    ranks_leave(comm, how);
    cudaEventDestroy(comm->order);
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) { return leave(comm, "ncclCommDestroy", LEFT); }
ncclResult_t ncclCommAbort(ncclComm_t comm) { return leave(comm, "ncclCommAbort", FAILED); }
ncclResult_t ncclCommFinalize(ncclComm_t comm) { return comm_is_live(comm) ? ncclSuccess : ncclInvalidArgument; }

static ncclResult_t tell(ncclComm_t comm, int *to, const int *value)
{
    if (!comm_is_live(comm)) return ncclInvalidArgument;
    *to = *value;
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) { return tell(comm, count, &comm->ranks); }
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) { return tell(comm, device, &comm->device); }
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) { return tell(comm, rank, &comm->rank); }

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    if (!comm_is_live(comm)) return ncclInvalidArgument;
    *error = comm->error;
    return ncclSuccess;
}
