/* Messages of NCCL. Those of a group make progress together, in order between each two ranks. A message has gone when its receiver has taken
   the last piece: on the device too nothing is buffered that one may count on. */
#include "nccl_reduce.h"
#include "nccl_run.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message { const struct operation *o; uint64_t done; bool begun, finished; };

static uint64_t bytes_of(const struct message *m) { return m->o->call.count * reduce_size((ncclDataType_t)m->o->call.type); }

/* Shows with whom messages have not ended. A received one must not seem to be open when its sender may go on. */
static void show(struct ncclComm *c)
{
    struct seat *seat = &c->shared->seat[c->rank];
    uint32_t sends = 0, receives = 0;
    for (int64_t i = 0; i < c->messages; i++)
        if (!c->message[i].finished) *(c->message[i].o->call.op == SEND ? &sends : &receives) |= 1u << c->message[i].o->peer;
    atomic_store(&seat->sends, sends);
    atomic_store(&seat->receives, receives);
}

void messages_begin(struct ncclComm *c)
{
    const struct batch *b = c->running;
    struct seat *seat = &c->shared->seat[c->rank];
    c->messages = b->count - b->collectives;
    c->message = calloc((size_t)c->messages, sizeof *c->message);
    for (int64_t i = 0; i < c->messages; i++) c->message[i].o = &b->op[b->collectives + i];
    seat->call = c->message[0].o->call;
    show(c);
    atomic_fetch_add(&seat->exchange, 1);
}

void messages_end(struct ncclComm *c)
{
    if (!c->message) return;
    atomic_fetch_add(&c->shared->seat[c->rank].exchange, 1);
    free(c->message);
    c->message = NULL;
    c->messages = 0;
}

/* ---- pieces ---- */

static bool waits_for_earlier(const struct ncclComm *c, const struct message *m)
{
    for (const struct message *other = c->message; other < m; other++)
        if (!other->finished && other->o->peer == m->o->peer && other->o->call.op == m->o->call.op) return true;
    return false;
}

/* True: something has moved. */
static bool send_piece(struct ncclComm *c, struct message *m, struct box *box)
{
    uint64_t bytes = bytes_of(m), n = bytes - m->done < BOX ? bytes - m->done : BOX;
    if (atomic_load(&box->filled) != atomic_load(&box->emptied)) return false;
    if (m->begun && m->done == bytes) {
        m->finished = true;
        show(c);
        return true;
    }
    if (n) memcpy(box->data, ph_storage(m->o->send) + m->done, n);
    box->bytes = n;
    box->call = m->o->call;
    m->begun = true;
    m->done += n;
    atomic_fetch_add(&box->filled, 1);
    return true;
}

static bool receive_piece(struct ncclComm *c, struct message *m, struct box *box)
{
    struct call want = m->o->call;
    char sent[160], wanted[160];
    if (atomic_load(&box->filled) == atomic_load(&box->emptied)) return false;
    want.op = SEND;
    if (memcmp(&want, &box->call, sizeof want))
        return ranks_mistake(c, "rank %lld sends %s, rank %d expects %s", (long long)m->o->peer, call_text(&box->call, sent), c->rank,
                             call_text(&m->o->call, wanted));
    if (box->bytes) memcpy(ph_storage(m->o->recv) + m->done, box->data, box->bytes);
    m->done += box->bytes;
    m->finished = m->done == bytes_of(m);
    if (m->finished) {
        if (m->done) ph_check_written(m->o->recv, m->done);
        show(c);
    }
    atomic_fetch_add(&box->emptied, 1);
    return true;
}

/* ---- deadlock ---- */

/* Who cannot go on before whom: ranks whose message the other takes no part in as long as its present call or group runs. */
struct view { uint64_t exchange[RANKS]; uint32_t stuck[RANKS]; };

static bool is_stuck(const struct segment *s, int on, int rank)
{
    const struct seat *one = &s->seat[rank], *other = &s->seat[on];
    const struct box *box = &s->box[rank][on];
    bool untaken = atomic_load(&one->sends) >> on & 1 && atomic_load(&box->filled) != atomic_load(&box->emptied);
    if (untaken && !(atomic_load(&other->receives) >> rank & 1)) return true;
    return atomic_load(&one->receives) >> on & 1 && !(atomic_load(&other->sends) >> rank & 1);
}

static struct view look_around(const struct ncclComm *c)
{
    struct view v = { 0 };
    for (int r = 0; r < c->ranks; r++) v.exchange[r] = atomic_load(&c->shared->seat[r].exchange);
    for (int r = 0; r < c->ranks; r++)
        for (int on = 0; on < c->ranks; on++)
            if (on != r && v.exchange[r] & v.exchange[on] & 1 && is_stuck(c->shared, on, r)) v.stuck[r] |= 1u << on;
    return v;
}

static uint32_t reach(const struct view *v, int from)
{
    uint32_t all = v->stuck[from], before;
    do {
        before = all;
        for (int r = 0; r < RANKS; r++) if (before >> r & 1) all |= v->stuck[r];
    } while (all != before);
    return all;
}

/* The ring of ranks that cannot go on before each other, if this one is in it and the first of it, which tells. */
static uint32_t ring_of(const struct ncclComm *c, const struct view *v)
{
    uint32_t ring = 0;
    for (int r = 0; r < c->ranks; r++) if (reach(v, c->rank) >> r & 1 && reach(v, r) >> c->rank & 1) ring |= 1u << r;
    return ring >> c->rank & 1 && !(ring & ((1u << c->rank) - 1)) ? ring : 0;
}

/* Found: rings of calls or groups each of which waits for a message with a rank whose own, in the same communicator, has no message with it
   the other way (two ranks that both send before they receive, without a group), whatever the sizes, though the library lets small ones
   pass. Other deadlocks (too few messages in a group, other communicators, collectives) end in the wait's time limit. Ranks change what is
   looked at meanwhile: what holds throughout three looks has held at one moment, and for good. */
static bool is_deadlock(struct ncclComm *c)
{
    struct view v = look_around(c);
    uint32_t ring = ring_of(c, &v), told = 0;
    char all[400], text[160];
    if (!ring) return false;
    for (int i = 0; i < 2; i++) {
        struct view again = look_around(c);
        if (memcmp(&again, &v, sizeof v)) return false;
    }
    for (int r = c->rank, on, n = 0; !(told >> r & 1) && n < 300; r = on) {
        on = __builtin_ctz(v.stuck[r] & ring);
        n += snprintf(all + n, sizeof all - (size_t)n, "%srank %d is in %s and waits for rank %d", n ? ", " : "", r,
                      call_text(&c->shared->seat[r].call, text), on);
        told |= 1u << r;
    }
    ranks_mistake(c, "deadlock: %s: such messages belong in one group", all);
    return true;
}

/* ---- all together ---- */

static bool move(struct ncclComm *c, struct message *m)
{
    int peer = (int)m->o->peer;
    if (m->finished || waits_for_earlier(c, m)) return false;
    return m->o->call.op == SEND ? send_piece(c, m, &c->shared->box[c->rank][peer]) : receive_piece(c, m, &c->shared->box[peer][c->rank]);
}

enum ph_progress messages_step(struct ncclComm *c)
{
    const struct message *open = NULL;
    uint32_t missing = 0;
    bool moved = false;
    for (struct message *m = c->message; m < c->message + c->messages && !c->error; m++) {
        moved |= move(c, m);
        if (m->finished) continue;
        missing |= 1u << m->o->peer;
        if (!open) open = m;
    }
    if (!missing || c->error) return PH_DONE;
    if (moved) {
        ranks_moved(c);
        return PH_GOES_ON;
    }
    return !is_deadlock(c) && ranks_look(c, &open->o->call, missing) ? PH_WAITS : PH_DONE;
}
