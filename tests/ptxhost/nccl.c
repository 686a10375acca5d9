/* libnccl of the emulated GPU: ranks are processes, one device each, over shared memory. Sums go in the order of ranks and have the same
   bits on all of them. Every call is compared across the ranks; a rank that does not come, or whose process has ended, is named.
   Operations run when their stream comes to them, and block it until all ranks have come. */
#include "narrow.h"
#include "nccl_ranks.h"
#include "ptxhost.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reductions ---- */

static size_t size_of(ncclDataType_t type)
{
    static const uint8_t bytes[] = {
        [ncclInt8] = 1, [ncclUint8] = 1, [ncclInt32] = 4, [ncclUint32] = 4, [ncclInt64] = 8, [ncclUint64] = 8,
        [ncclFloat16] = 2, [ncclFloat32] = 4, [ncclFloat64] = 8, [ncclBfloat16] = 2,
    };
    return (unsigned)type < sizeof bytes ? bytes[type] : 0;
}

#define COMBINE(op, x, y) ((op) == ncclProd ? (x) * (y) : (op) == ncclMax ? ((y) > (x) ? (y) : (x)) : (op) == ncclMin ? ((y) < (x) ? (y) : (x)) : (x) + (y))
#define PLAIN(T) { T *x = to; const T *y = from; for (size_t i = 0; i < n; i++) x[i] = (T)COMBINE(op, x[i], y[i]); return; }
#define NARROW(widen, narrow) { \
    uint16_t *x = to; \
    const uint16_t *y = from; \
    for (size_t i = 0; i < n; i++) { \
        float a = widen(x[i]), b = widen(y[i]); \
        x[i] = narrow(COMBINE(op, a, b)); \
    } \
    return; \
}

/* Each step rounds to the type, as the library's does. */
static void combine(void *to, const void *from, size_t n, ncclDataType_t type, ncclRedOp_t op)
{
    switch ((int)type) {
    case ncclInt8: PLAIN(int8_t)
    case ncclUint8: PLAIN(uint8_t)
    case ncclInt32: PLAIN(int32_t)
    case ncclUint32: PLAIN(uint32_t)
    case ncclInt64: PLAIN(int64_t)
    case ncclUint64: PLAIN(uint64_t)
    case ncclFloat16: NARROW(f16_widen, f16_narrow)
    case ncclFloat32: PLAIN(float)
    case ncclFloat64: PLAIN(double)
    case ncclBfloat16: NARROW(bf16_widen, bf16_narrow)
    }
}

#define DIVIDED(T) { T *x = data; for (size_t i = 0; i < n; i++) x[i] = (T)(x[i] / (T)ranks); return; }
#define SCALED(T) { T *x = data; for (size_t i = 0; i < n; i++) x[i] *= 1 / (T)ranks; return; }
#define SCALED_NARROW(widen, narrow) { \
    uint16_t *x = data; \
    float share = widen(narrow(1 / (float)ranks)); \
    for (size_t i = 0; i < n; i++) x[i] = narrow(widen(x[i]) * share); \
    return; \
}

/* An average is a sum of numbers that were scaled before, or of integers divided after. */
static void scale_before(void *data, size_t n, ncclDataType_t type, int ranks)
{
    switch ((int)type) {
    case ncclFloat16: SCALED_NARROW(f16_widen, f16_narrow)
    case ncclFloat32: SCALED(float)
    case ncclFloat64: SCALED(double)
    case ncclBfloat16: SCALED_NARROW(bf16_widen, bf16_narrow)
    }
}

static void divide_after(void *data, size_t n, ncclDataType_t type, int ranks)
{
    switch ((int)type) {
    case ncclInt8: DIVIDED(int8_t)
    case ncclUint8: DIVIDED(uint8_t)
    case ncclInt32: DIVIDED(int32_t)
    case ncclUint32: DIVIDED(uint32_t)
    case ncclInt64: DIVIDED(int64_t)
    case ncclUint64: DIVIDED(uint64_t)
    }
}

/* ---- running: on the stream ---- */

struct operation { struct call call; uint64_t send, recv; int64_t peer; };
struct batch { struct ncclComm *comm; int64_t count; struct operation op[]; };

/* Values that one operation reads and writes on this rank. */
static uint64_t reads(const struct ncclComm *c, const struct call *call)
{
    if (call->op == RECV || (call->op == BROADCAST && call->root != c->rank)) return 0;
    return call->count * (call->op == REDUCE_SCATTER ? (uint64_t)c->ranks : 1);
}

static uint64_t writes(const struct ncclComm *c, const struct call *call)
{
    if (call->op == SEND || (call->op == REDUCE && call->root != c->rank)) return 0;
    return call->count * (call->op == ALL_GATHER ? (uint64_t)c->ranks : 1);
}

static const char *misplaced(uint64_t at, uint64_t values, size_t size)
{
    if (!values) return NULL;
    if (!ph_is_device(at)) return "is not device memory";
    if (at % size) return "is not aligned to its type";
    return ph_in_bounds(at, values * size) ? NULL : "leaves its allocation";
}

/* Has to hold when the operation runs, too, which may be later. */
static bool memory_check(struct ncclComm *c, const struct operation *o)
{
    size_t size = size_of((ncclDataType_t)o->call.type);
    char text[160];
    const char *wrong = misplaced(o->send, reads(c, &o->call), size);
    if (wrong) return ranks_mistake(c, "the send buffer %#llx of %s %s", (unsigned long long)o->send, call_text(&o->call, text), wrong);
    wrong = misplaced(o->recv, writes(c, &o->call), size);
    return wrong ? ranks_mistake(c, "the receive buffer %#llx of %s %s", (unsigned long long)o->recv, call_text(&o->call, text), wrong) : true;
}

static void bring(struct ncclComm *c, const struct operation *o, uint64_t from, uint64_t n)
{
    const struct call *call = &o->call;
    size_t size = size_of((ncclDataType_t)call->type);
    char *mine = c->shared->chunk[c->rank];
    uint64_t pieces = call->op == REDUCE_SCATTER ? (uint64_t)c->ranks : 1;
    if (!reads(c, call)) return;
    for (uint64_t p = 0; p < pieces; p++) memcpy(mine + p * n * size, ph_storage(o->send) + (p * call->count + from) * size, n * size);
    if (call->reduction == ncclAvg) scale_before(mine, pieces * n, (ncclDataType_t)call->type, c->ranks);
}

/* Jitter begins with another rank, the same on all. */
static void reduce(struct ncclComm *c, const struct call *call, uint64_t skip, void *to, uint64_t n)
{
    ncclDataType_t type = (ncclDataType_t)call->type;
    int first = (int)(ph_jitter() % (uint32_t)c->ranks);
    memcpy(to, c->shared->chunk[first] + skip, n * size_of(type));
    for (int r = 1; r < c->ranks; r++) combine(to, c->shared->chunk[(first + r) % c->ranks] + skip, n, type, (ncclRedOp_t)call->reduction);
    if (call->reduction == ncclAvg) divide_after(to, n, type, c->ranks);
}

static void take(struct ncclComm *c, const struct operation *o, uint64_t from, uint64_t n)
{
    const struct call *call = &o->call;
    size_t size = size_of((ncclDataType_t)call->type);
    if (!writes(c, call)) return;
    char *to = ph_storage(o->recv) + from * size;
    if (call->op == ALL_REDUCE || call->op == REDUCE) reduce(c, call, 0, to, n);
    else if (call->op == REDUCE_SCATTER) reduce(c, call, (uint64_t)c->rank * n * size, to, n);
    else if (call->op == BROADCAST) memcpy(to, c->shared->chunk[call->root], n * size);
    else for (int r = 0; r < c->ranks; r++) memcpy(to + (uint64_t)r * call->count * size, c->shared->chunk[r], n * size);
}

static void collective(struct ncclComm *c, const struct operation *o)
{
    const struct call *call = &o->call;
    size_t size = size_of((ncclDataType_t)call->type);
    uint64_t most = CHUNK / size / (call->op == REDUCE_SCATTER ? (uint64_t)c->ranks : 1);
    if (!ranks_agree(c, call)) return;
    for (uint64_t from = 0; from < call->count; from += most) {
        uint64_t n = call->count - from < most ? call->count - from : most;
        bring(c, o, from, n);
        if (!ranks_meet(c, call)) return;
        take(c, o, from, n);
        if (!ranks_meet(c, call)) return;
    }
    if (writes(c, call)) ph_check_written(o->recv, writes(c, call) * size);
    ranks_meet(c, call);
}

/* Messages of a group make progress together, in order between each two ranks. A message has gone when its receiver has taken the last
   piece: on the device too nothing is buffered that one may count on. */
struct message { const struct operation *o; uint64_t done; bool begun, finished; };
struct messages { int64_t count; struct message *m; };

static bool waits_for_earlier(const struct messages *all, int64_t i)
{
    const struct operation *o = all->m[i].o;
    for (int64_t j = 0; j < i; j++) {
        const struct operation *other = all->m[j].o;
        if (!all->m[j].finished && other->peer == o->peer && other->call.op == o->call.op) return true;
    }
    return false;
}

static void send_piece(struct ncclComm *c, struct message *m, struct box *box)
{
    uint64_t bytes = m->o->call.count * size_of((ncclDataType_t)m->o->call.type), n = bytes - m->done < BOX ? bytes - m->done : BOX;
    (void)c;
    if (atomic_load(&box->filled) != atomic_load(&box->emptied)) return;
    if (m->begun && m->done == bytes) {
        m->finished = true;
        return;
    }
    memcpy(box->data, ph_storage(m->o->send) + m->done, n);
    box->bytes = n;
    box->call = m->o->call;
    m->begun = true;
    m->done += n;
    atomic_fetch_add(&box->filled, 1);
}

static void receive_piece(struct ncclComm *c, struct message *m, struct box *box)
{
    struct call want = m->o->call;
    char sent[160], wanted[160];
    if (atomic_load(&box->filled) == atomic_load(&box->emptied)) return;
    want.op = SEND;
    if (memcmp(&want, &box->call, sizeof want)) {
        ranks_mistake(c, "rank %lld sends %s, rank %d expects %s", (long long)m->o->peer, call_text(&box->call, sent), c->rank, call_text(&m->o->call, wanted));
        return;
    }
    memcpy(ph_storage(m->o->recv) + m->done, box->data, box->bytes);
    m->done += box->bytes;
    m->finished = m->done == want.count * size_of((ncclDataType_t)want.type);
    atomic_fetch_add(&box->emptied, 1);
}

static uint32_t progress(struct ncclComm *c, void *data)
{
    struct messages *all = data;
    uint32_t missing = 0;
    for (int64_t i = 0; i < all->count && !c->error; i++) {
        struct message *m = &all->m[i];
        int peer = (int)m->o->peer;
        if (m->finished) continue;
        if (!waits_for_earlier(all, i)) {
            if (m->o->call.op == SEND) send_piece(c, m, &c->shared->box[c->rank][peer]);
            else receive_piece(c, m, &c->shared->box[peer][c->rank]);
        }
        if (!m->finished) missing |= 1u << peer;
    }
    return missing;
}

static void exchange(struct ncclComm *c, const struct batch *b)
{
    struct messages all = { .m = calloc((size_t)b->count, sizeof *all.m) };
    for (int64_t i = 0; i < b->count; i++) if (b->op[i].call.op >= SEND) all.m[all.count++].o = &b->op[i];
    if (all.count) {
        c->shared->seat[c->rank].call = all.m[0].o->call;
        ranks_wait(c, &all.m[0].o->call, progress, &all);
    }
    for (int64_t i = 0; i < all.count && !c->error; i++)
        if (all.m[i].o->call.op == RECV) ph_check_written(all.m[i].o->recv, all.m[i].done);
    free(all.m);
}

static void run(const void *data)
{
    const struct batch *b = data;
    struct ncclComm *c = b->comm;
    if (!c->live) {
        ph_report("nccl: %s runs after its communicator was destroyed: wait for its stream first", op_name((enum op)b->op[0].call.op));
        return;
    }
    for (int64_t i = 0; i < b->count && !c->error; i++) {
        const struct operation *o = &b->op[i];
        uint64_t bytes = reads(c, &o->call) * size_of((ncclDataType_t)o->call.type);
        if (!memory_check(c, o)) return;
        if (bytes) ph_check_readable(o->send, bytes, op_name((enum op)o->call.op));
    }
    for (int64_t i = 0; i < b->count && !c->error; i++) if (b->op[i].call.op < SEND) collective(c, &b->op[i]);
    if (!c->error) exchange(c, b);
}

/* ---- calls ---- */

static struct ncclComm comms[64];
static int made;
static __thread struct { int depth; ncclResult_t error; struct ncclComm *comm; cudaStream_t stream; struct operation *op; int64_t count; } group;

static bool is_live(const struct ncclComm *c) { return c >= comms && c < comms + made && c->live; }

static void enqueue(struct ncclComm *c, cudaStream_t stream, const struct operation *op, int64_t count)
{
    size_t bytes = sizeof(struct batch) + (size_t)count * sizeof *op;
    struct batch *b = malloc(bytes);
    b->comm = c;
    b->count = count;
    memcpy(b->op, op, (size_t)count * sizeof *op);
    ph_enqueue(stream, op_name((enum op)op[0].call.op), run, b, bytes);
    free(b);
}

static ncclResult_t join_group(struct ncclComm *c, cudaStream_t stream, const struct operation *o)
{
    if (group.count && (group.comm != c || group.stream != stream)) {
        ranks_mistake(c, "%s is in a group with operations of another communicator or stream, which is not modelled", op_name((enum op)o->call.op));
        return group.error = ncclInvalidUsage;
    }
    group.comm = c;
    group.stream = stream;
    group.op = realloc(group.op, (size_t)(group.count + 1) * sizeof *group.op);
    group.op[group.count++] = *o;
    return ncclSuccess;
}

/* Buffers may coincide as the header says, not otherwise overlap. */
static bool overlap_check(struct ncclComm *c, const struct operation *o)
{
    const struct call *call = &o->call;
    uint64_t size = size_of((ncclDataType_t)call->type), in = reads(c, call) * size, out = writes(c, call) * size, own = (uint64_t)c->rank * call->count * size;
    char text[160];
    if (o->send >= o->recv + out || o->recv >= o->send + in) return true;
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
    return memory_check(c, o) && overlap_check(c, o);
}

static ncclResult_t submit(struct ncclComm *c, cudaStream_t stream, struct operation o)
{
    const char *name = op_name((enum op)o.call.op);
    if (!is_live(c)) {
        ph_report("nccl: %s on a communicator that does not live", name);
        return ncclInvalidArgument;
    }
    if (c->error) return c->error;
    if (!size_of((ncclDataType_t)o.call.type)) {
        fprintf(stderr, "ptxhost: nccl: %s: type %d is not supported\n", name, o.call.type);
        return ncclInvalidArgument;
    }
    o.call.number = o.call.op == SEND ? ++c->sent[o.peer & (RANKS - 1)] : o.call.op == RECV ? ++c->received[o.peer & (RANKS - 1)] : ++c->collectives;
    if (!call_check(c, &o)) return ncclInvalidArgument;
    if (group.depth) return join_group(c, stream, &o);
    enqueue(c, stream, &o, 1);
    return ncclSuccess;
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

ncclResult_t ncclGroupStart(void);                         /* the header declares them without prototypes */
ncclResult_t ncclGroupEnd(void);

ncclResult_t ncclGroupStart(void)
{
    group.depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (group.depth == 0) {
        ph_report("nccl: ncclGroupEnd without ncclGroupStart");
        return ncclInvalidUsage;
    }
    if (--group.depth) return ncclSuccess;
    ncclResult_t error = group.error;
    if (group.count && !error) enqueue(group.comm, group.stream, group.op, group.count);
    free(group.op);
    memset(&group, 0, sizeof group);
    return error;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0, sizeof *id);
    ranks_name(id->internal);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    if (ranks < 1 || ranks > RANKS || rank < 0 || rank >= ranks || id.internal[0] != '/' || memchr(id.internal, 0, 64) == NULL) {
        ph_report("nccl: ncclCommInitRank: rank %d of %d (at most %d), or an id that ncclGetUniqueId did not make", rank, ranks, RANKS);
        return ncclInvalidArgument;
    }
    if (made == (int)(sizeof comms / sizeof *comms)) return ncclSystemError;
    struct ncclComm *c = &comms[made++];
    c->rank = rank;
    c->ranks = ranks;
    if (cudaGetDevice(&c->device) != cudaSuccess) return ncclUnhandledCudaError;
    if (!ranks_join(c, id.internal)) return c->error ? c->error : ncclSystemError;
    c->live = true;
    *comm = c;
    return ncclSuccess;
}

static ncclResult_t leave(ncclComm_t comm, const char *call, enum presence how)
{
    if (!is_live(comm)) {
        ph_report("nccl: %s of a communicator that does not live", call);
        return ncclInvalidArgument;
    }
    ranks_leave(comm, how);
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) { return leave(comm, "ncclCommDestroy", LEFT); }
ncclResult_t ncclCommAbort(ncclComm_t comm) { return leave(comm, "ncclCommAbort", FAILED); }
ncclResult_t ncclCommFinalize(ncclComm_t comm) { return is_live(comm) ? ncclSuccess : ncclInvalidArgument; }

static ncclResult_t tell(ncclComm_t comm, int *to, const int *value)
{
    if (!is_live(comm)) return ncclInvalidArgument;
    *to = *value;
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) { return tell(comm, count, &comm->ranks); }
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) { return tell(comm, device, &comm->device); }
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) { return tell(comm, rank, &comm->rank); }

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    if (!is_live(comm)) return ncclInvalidArgument;
    *error = comm->error;
    return ncclSuccess;
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
