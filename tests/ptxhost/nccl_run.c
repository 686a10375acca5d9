/* Operations of NCCL as their stream runs them: a step at a time, so that other streams of the process go on while one waits for other
   ranks. Sums go in the order of ranks and have the same bits on all of them. */
#include "nccl_reduce.h"
#include "nccl_run.h"
#include <string.h>

/* ---- buffers ---- */

uint64_t run_reads(const struct ncclComm *c, const struct call *call)
{
    if (call->op == RECV || (call->op == BROADCAST && call->root != c->rank)) return 0;
    return call->count * (call->op == REDUCE_SCATTER ? (uint64_t)c->ranks : 1) * reduce_size((ncclDataType_t)call->type);
}

uint64_t run_writes(const struct ncclComm *c, const struct call *call)
{
    if (call->op == SEND || (call->op == REDUCE && call->root != c->rank)) return 0;
    return call->count * (call->op == ALL_GATHER ? (uint64_t)c->ranks : 1) * reduce_size((ncclDataType_t)call->type);
}

static const char *misplaced(uint64_t at, uint64_t bytes, size_t size)
{
    if (!bytes) return NULL;
    if (!ph_is_device(at)) return "is not device memory";
    if (at % size) return "is not aligned to its type";
    return ph_in_bounds(at, bytes) ? NULL : "leaves its allocation";
}

bool run_memory_check(struct ncclComm *c, const struct operation *o)
{
    size_t size = reduce_size((ncclDataType_t)o->call.type);
    char text[160];
    const char *wrong = misplaced(o->send, run_reads(c, &o->call), size);
    if (wrong) return ranks_mistake(c, "the send buffer %#llx of %s %s", (unsigned long long)o->send, call_text(&o->call, text), wrong);
    wrong = misplaced(o->recv, run_writes(c, &o->call), size);
    return wrong ? ranks_mistake(c, "the receive buffer %#llx of %s %s", (unsigned long long)o->recv, call_text(&o->call, text), wrong) : true;
}

/* ---- collectives ---- */

static void bring(struct ncclComm *c, const struct operation *o, uint64_t from, uint64_t n)
{
    const struct call *call = &o->call;
    size_t size = reduce_size((ncclDataType_t)call->type);
    char *mine = c->shared->chunk[c->rank];
    uint64_t pieces = call->op == REDUCE_SCATTER ? (uint64_t)c->ranks : 1;
    if (!run_reads(c, call)) return;
    for (uint64_t p = 0; p < pieces; p++) memcpy(mine + p * n * size, ph_storage(o->send) + (p * call->count + from) * size, n * size);
    if (call->reduction == ncclAvg) reduce_scale_before(mine, pieces * n, (ncclDataType_t)call->type, c->ranks);
}

/* Jitter begins with another rank, the same on all. */
static void reduce(struct ncclComm *c, const struct call *call, uint64_t skip, void *to, uint64_t n)
{
    ncclDataType_t type = (ncclDataType_t)call->type;
    int first = (int)(ph_jitter() % (uint32_t)c->ranks);
    memcpy(to, c->shared->chunk[first] + skip, n * reduce_size(type));
    for (int r = 1; r < c->ranks; r++) reduce_combine(to, c->shared->chunk[(first + r) % c->ranks] + skip, n, type, (ncclRedOp_t)call->reduction);
    if (call->reduction == ncclAvg) reduce_divide_after(to, n, type, c->ranks);
}

static void take(struct ncclComm *c, const struct operation *o, uint64_t from, uint64_t n)
{
    const struct call *call = &o->call;
    size_t size = reduce_size((ncclDataType_t)call->type);
    if (!run_writes(c, call)) return;
    char *to = ph_storage(o->recv) + from * size;
    if (call->op == ALL_REDUCE || call->op == REDUCE) reduce(c, call, 0, to, n);
    else if (call->op == REDUCE_SCATTER) reduce(c, call, (uint64_t)c->rank * n * size, to, n);
    else if (call->op == BROADCAST) memcpy(to, c->shared->chunk[call->root], n * size);
    else for (int r = 0; r < c->ranks; r++) memcpy(to + (uint64_t)r * call->count * size, c->shared->chunk[r], n * size);
}

/* A collective is a row of meetings. Before the first each rank shows its call, and after it they are compared; then each piece is brought
   before one meeting and taken after it. */
static enum ph_progress collective(struct ncclComm *c, const struct operation *o)
{
    const struct call *call = &o->call;
    uint64_t most = CHUNK / reduce_size((ncclDataType_t)call->type) / (call->op == REDUCE_SCATTER ? (uint64_t)c->ranks : 1);
    uint64_t pieces = call->count ? (call->count - 1) / most + 1 : 1, turn = c->turn;
    uint32_t missing = turn ? ranks_missing(c) : 0;
    if (missing) return ranks_look(c, call, missing) ? PH_WAITS : PH_DONE;
    if (turn == 2 * pieces + 1) {
        if (run_writes(c, call)) ph_check_written(o->recv, run_writes(c, call));
        return PH_DONE;
    }
    if (turn == 0) c->shared->seat[c->rank].call = *call;
    else {
        uint64_t from = (turn - 1) / 2 * most, n = call->count - from < most ? call->count - from : most;
        if (turn == 1 && !ranks_same(c, call)) return PH_DONE;
        if (turn % 2) bring(c, o, from, n);
        else take(c, o, from, n);
    }
    c->turn++;
    ranks_come(c);
    return PH_GOES_ON;
}

/* ---- batches ---- */

static bool buffers_check(struct ncclComm *c, const struct batch *b)
{
    for (int64_t i = 0; i < b->count; i++) {
        const struct operation *o = &b->op[i];
        uint64_t bytes = run_reads(c, &o->call);
        if (!run_memory_check(c, o)) return false;
        if (bytes) ph_check_readable(o->send, bytes, op_name((enum op)o->call.op));
    }
    return true;
}

static void begin(struct ncclComm *c, const struct batch *b)
{
    c->running = b;
    c->at = 0;
    c->turn = 0;
    ranks_moved(c);
    if (!c->error) buffers_check(c, b);
}

static enum ph_progress end(struct ncclComm *c)
{
    messages_end(c);
    c->pending -= !c->running->recorded;
    c->running = NULL;
    return PH_DONE;
}

/* Collectives one after the other, then all messages together. */
static enum ph_progress step(struct ncclComm *c)
{
    const struct batch *b = c->running;
    if (c->error) return PH_DONE;
    if (c->at < b->collectives) {
        enum ph_progress progress = collective(c, &b->op[c->at]);
        if (progress != PH_DONE || c->error) return progress;
        c->at++;
        c->turn = 0;
        return PH_GOES_ON;
    }
    if (b->collectives == b->count) return PH_DONE;
    if (!c->message) messages_begin(c);
    return messages_step(c);
}

/* One batch of a communicator at a time: in the order of calls, but for those of graphs and of the streams beside them, whose order the
   program has to see to. The library orders these too; here the ranks might come to different ones, which is reported. */
enum ph_progress run_batch(const void *batch)
{
    const struct batch *b = batch;
    struct ncclComm *c = b->comm;
    if (!c->live) {
        ph_report("nccl: %s runs after its communicator was destroyed: wait for its stream first", op_name((enum op)b->op[0].call.op));
        return PH_DONE;
    }
    if (c->splits || (c->running && c->running != b)) return PH_WAITS;
    if (!c->running) begin(c, b);
    enum ph_progress progress = step(c);
    return progress == PH_DONE ? end(c) : progress;
}
