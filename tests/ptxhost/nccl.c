/* libnccl of the emulated GPU: ranks are processes, one device each, over shared memory. Every call is compared across the ranks; a rank that
   does not come, or whose process has ended, is named. Here are the calls that give operations to streams, and groups of them. Operations
   run when their stream comes to them (nccl_run.c), and block it, no other, until all ranks have come. */
#include "nccl_reduce.h"
#include "nccl_run.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rules ---- */

static bool is_apart(uint64_t a, uint64_t bytes, uint64_t b, uint64_t others) { return !bytes || !others || a >= b + others || b >= a + bytes; }

/* Buffers may coincide as the header says, not otherwise overlap. */
static bool overlap_check(struct ncclComm *c, const struct operation *o)
{
    const struct call *call = &o->call;
    uint64_t own = (uint64_t)c->rank * call->count * reduce_size((ncclDataType_t)call->type);
    char text[160];
    if (is_apart(o->send, run_reads(c, call), o->recv, run_writes(c, call))) return true;
    if (call->op == ALL_GATHER ? o->send == o->recv + own : call->op == REDUCE_SCATTER ? o->recv == o->send + own : o->send == o->recv) return true;
    return ranks_mistake(c, "the buffers of %s overlap and are not in place", call_text(call, text));
}

static bool call_check(struct ncclComm *c, const struct operation *o)
{
    const struct call *call = &o->call;
    const char *name = op_name((enum op)call->op);
    if (call->root < 0 || call->root >= c->ranks) return ranks_mistake(c, "%s with root %d of %d ranks", name, call->root, c->ranks);
    if (o->peer < 0 || o->peer >= c->ranks) return ranks_mistake(c, "%s with peer %lld of %d ranks", name, (long long)o->peer, c->ranks);
    if (call->reduction < 0 || call->reduction >= ncclNumOps) return ranks_mistake(c, "%s with reduction %d", name, call->reduction);
    return run_memory_check(c, o) && overlap_check(c, o);
}

/* Messages of a group are under way at the same time: none may be received where another is sent from or received, but for one to itself
   in place. */
static bool apart_check(struct ncclComm *c, const struct operation *in, const struct operation *other)
{
    bool receives = other->call.op == RECV;
    uint64_t at = receives ? other->recv : other->send;
    char text[160], others[160];
    if (in == other || (receives && other < in)) return true;
    if (is_apart(in->recv, run_writes(c, &in->call), at, receives ? run_writes(c, &other->call) : run_reads(c, &other->call))) return true;
    if (!receives && in->peer == c->rank && other->peer == c->rank && in->recv == at) return true;
    return ranks_mistake(c, "in one group, the buffers of %s with rank %lld and of %s with rank %lld overlap", call_text(&in->call, text), (long long)in->peer,
                         call_text(&other->call, others), (long long)other->peer);
}

static bool group_check(struct ncclComm *c, const struct operation *op, int64_t count)
{
    int64_t sent = 0, received = 0;
    for (const struct operation *o = op; o < op + count; o++) {
        sent += o->call.op == SEND && o->peer == c->rank;
        received += o->call.op == RECV && o->peer == c->rank;
        if (o->call.op != RECV) continue;
        for (const struct operation *other = op; other < op + count; other++)
            if (other->call.op >= SEND && !apart_check(c, o, other)) return false;
    }
    return sent == received ||
           ranks_mistake(c, "sends itself %lld messages and receives %lld in one group, or without one", (long long)sent, (long long)received);
}

/* ---- calls ---- */

struct part { struct ncclComm *comm; cudaStream_t stream; struct operation *op; int64_t count; };
static __thread struct { int depth, parts; ncclResult_t error; struct part *part; } group;

static ncclResult_t enqueue(struct ncclComm *c, cudaStream_t stream, const struct operation *op, int64_t count)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    size_t bytes = sizeof(struct batch) + (size_t)count * sizeof *op;
    if (!group_check(c, op, count)) return ncclInvalidUsage;
    if (cudaStreamIsCapturing(stream, &status)) return ncclInvalidArgument;
    struct batch *b = calloc(1, bytes);
    *b = (struct batch){ .comm = c, .recorded = status != cudaStreamCaptureStatusNone };
    for (int64_t i = 0; i < count; i++) if (op[i].call.op < SEND) b->op[b->count++] = op[i];
    b->collectives = b->count;
    for (int64_t i = 0; i < count; i++) if (op[i].call.op >= SEND) b->op[b->count++] = op[i];
    c->pending += !b->recorded;
    if (!ph_enqueue_steps(stream, op_name((enum op)op[0].call.op), run_batch, b, bytes, c->order)) c->pending -= !b->recorded;
    free(b);
    return ncclSuccess;
}

/* A group may have operations of several communicators, each on one stream. */
static ncclResult_t join_group(struct ncclComm *c, cudaStream_t stream, const struct operation *o)
{
    int i = 0;
    while (i < group.parts && group.part[i].comm != c) i++;
    if (i == group.parts) {
        group.part = realloc(group.part, (size_t)++group.parts * sizeof *group.part);
        group.part[i] = (struct part){ c, stream, NULL, 0 };
    }
    struct part *p = &group.part[i];
    if (p->stream != stream) {
        ranks_mistake(c, "%s is in a group with operations of its communicator on another stream, which is not modelled", op_name((enum op)o->call.op));
        return group.error = ncclInvalidUsage;
    }
    p->op = realloc(p->op, (size_t)(p->count + 1) * sizeof *p->op);
    p->op[p->count++] = *o;
    return ncclSuccess;
}

static ncclResult_t submit(struct ncclComm *c, cudaStream_t stream, struct operation o)
{
    const char *name = op_name((enum op)o.call.op);
    if (!comm_is_live(c)) {
        ph_report("nccl: %s on a communicator that does not live", name);
        return ncclInvalidArgument;
    }
    if (c->error) return c->error;
    if (!reduce_size((ncclDataType_t)o.call.type)) {
        fprintf(stderr, "ptxhost: nccl: %s: type %d is not supported\n", name, o.call.type);
        return ncclInvalidArgument;
    }
    o.call.number = o.call.op == SEND ? ++c->sent[o.peer & (RANKS - 1)] : o.call.op == RECV ? ++c->received[o.peer & (RANKS - 1)] : ++c->collectives;
    if (!call_check(c, &o)) return ncclInvalidArgument;
    return group.depth ? join_group(c, stream, &o) : enqueue(c, stream, &o, 1);
}

static struct operation operation(enum op op, const void *send, void *recv, size_t count, ncclDataType_t type)
{
    return (struct operation){ .call = { .op = op, .count = count, .type = (int32_t)type }, .send = (uint64_t)(uintptr_t)send, .recv = (uint64_t)(uintptr_t)recv };
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream)
{
    struct operation o = operation(ALL_REDUCE, send, recv, count, type);
    o.call.reduction = (int32_t)reduction;
    return submit(comm, stream, o);
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream)
{
    struct operation o = operation(REDUCE_SCATTER, send, recv, count, type);
    o.call.reduction = (int32_t)reduction;
    return submit(comm, stream, o);
}

ncclResult_t ncclReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t reduction, int root, ncclComm_t comm, cudaStream_t stream)
{
    struct operation o = operation(REDUCE, send, recv, count, type);
    o.call.reduction = (int32_t)reduction;
    o.call.root = root;
    return submit(comm, stream, o);
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream)
{
    return submit(comm, stream, operation(ALL_GATHER, send, recv, count, type));
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream)
{
    struct operation o = operation(BROADCAST, send, recv, count, type);
    o.call.root = root;
    return submit(comm, stream, o);
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    struct operation o = operation(SEND, send, NULL, count, type);
    o.peer = peer;
    return submit(comm, stream, o);
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    struct operation o = operation(RECV, NULL, recv, count, type);
    o.peer = peer;
    return submit(comm, stream, o);
}

/* ---- groups ---- */

ncclResult_t ncclGroupStart(void);                         /* the header declares them without prototypes */
ncclResult_t ncclGroupEnd(void);

ncclResult_t ncclGroupStart(void)
{
    group.depth++;
    return ncclSuccess;
}

/* Communicators follow each other as they were met in the group, where they have one stream. */
ncclResult_t ncclGroupEnd(void)
{
    if (group.depth == 0) {
        ph_report("nccl: ncclGroupEnd without ncclGroupStart");
        return ncclInvalidUsage;
    }
    if (--group.depth) return ncclSuccess;
    ncclResult_t error = group.error;
    for (struct part *p = group.part; p < group.part + group.parts; p++) {
        if (!error) error = enqueue(p->comm, p->stream, p->op, p->count);
        free(p->op);
    }
    free(group.part);
    memset(&group, 0, sizeof group);
    return error;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetLastError(ncclComm_t comm) { return comm ? comm->why : ""; }

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const text[] = {
        "no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument", "invalid usage",
        "remote process exited or there was a network error", "in progress",
    };
    return (unsigned)result < sizeof text / sizeof *text ? text[result] : "unknown result code";
}
