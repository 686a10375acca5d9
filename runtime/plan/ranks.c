/* Plans over several ranks. Each rank computes the gradient of its part of the batch; the gradients are added over the
   ranks that have the same weights and other tokens, in pieces, while backward goes on. Each weight, or this rank's
   part of it, is then updated by one of its replicas, which alone keeps what its optimizer remembers of it (ZeRO-1),
   and goes from there to the others. Who holds what: update.c. */
#include "pace.h"
#include "offsets.h"

#include <stdlib.h>

/* A leaf whose holder alone runs the update; NULL: all do. */
static const struct leaf *held_leaf(const struct node *n)
{
    for (int k = 0; update_is_held(n) && k < n->n_in; k++)
        if (plan_leaf_of(n->in[k]) && plan_leaf_of(n->in[k])->holder) return plan_leaf_of(n->in[k]);
    return NULL;
}

bool ranks_mine(const struct call *update)
{
    const struct leaf *l = held_leaf(update->node);
    if (l && !state_has(l)) return false;
    return !l || l->holder == place_index(&comm_here()->place, leaf_replicas(l)) + 1;
}

/* ---- pieces of the gradients ---- */

enum { PIECES = 8, LEAST = 256 << 10, MOST = 32 << 20 };

/* The backward call that is the last to add to the gradient of a weight. */
static int ready_after(const struct plan *p, const struct leaf *weight)
{
    for (int i = p->backward.n - 1; i >= 0; i--) {
        const struct call *c = &p->backward.call[i];
        for (int k = 0; c->args.din && k < c->args.n_in; k++)
            if (c->args.din[k].data && plan_leaf_of(c->node->in[k]) == weight) return i + 1;
    }
    return 0;
}

/* The ranks whose gradients of a weight add up: those of other tokens or micro-batches, and of other stages or parts
   of it. */
static unsigned adds_over(const struct leaf *l)
{
    return (OVER_DATA | OVER_PIPELINE | l->read) & leaf_replicas(l);
}

/* From the last weight to the first: backward comes by them in about this order. A piece is of weights whose gradients
   add up over the same ranks. */
static void cut_gradients(struct plan *p)
{
    const struct leaves *leaves = p->graph->leaves;
    size_t end = state_layout(p->graph->leaves).of[SLAB_WEIGHTS], least = end / PIECES;
    least = least < LEAST ? LEAST : least > MOST ? MOST : least;
    p->bucket = arena_alloc(p->arena, (size_t)(leaves->n + 1) * sizeof *p->bucket);
    struct bucket now = { end, end, 0, 0 };
    for (int i = leaves->n - 1; i >= 0; i--) {
        const struct leaf *l = leaves->leaf[i];
        if (!leaf_trains(l) || !home_is_here(l->home, &leaves->here)) continue;
        bool other = now.to > now.from && now.over != adds_over(l);
        if (now.to - now.from >= least || other) {
            p->bucket[p->n_buckets++] = now;
            now = (struct bucket){ now.from, now.from, now.ready, 0 };      /* pieces go in their order */
        }
        int last = ready_after(p, l);
        now.over = adds_over(l);
        now.from = l->offset;
        now.ready = last > now.ready ? last : now.ready;
    }
    if (now.to > now.from) p->bucket[p->n_buckets++] = now;
}

/* What an update leaves that all ranks read: leaves, once each, and outputs. */
static void add_to_exchange(struct plan *p, struct exchange *x, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        struct leaf *l = plan_leaf_of(n->in[k]);
        bool there = !l || !l->holder || !update_changes(n, k) || !(l->kind == LEAF_WEIGHT || l->everywhere);
        for (int i = 0; i < x->n; i++) there |= x->leaf[i] == l;
        if (!there) x->leaf[x->n++] = l;
    }
    for (int k = 0; k < n->n_out; k++) {
        const struct storage *s = &p->storage[p->planned[n->id].value[k]];
        size_t end = s->offset + offsets_round(plan_decl_bytes(p, s->decl));
        if (s->offset < x->from) x->from = s->offset;
        if (end > x->to) x->to = end;
    }
}

/* An exchange at the end of each phase in which weights are changed. */
static void plan_exchanges(struct plan *p)
{
    p->exchange = arena_alloc(p->arena, (size_t)(p->update.n + 1) * sizeof *p->exchange);
    for (int i = 0, phase = NONE; i < p->update.n; i++) {
        const struct node *n = p->update.call[i].node;
        if (!update_is_held(n)) continue;
        if (p->planned[n->id].phase != phase)
            p->exchange[p->n_exchanges++] = (struct exchange){
                .leaf = arena_alloc(p->arena, (size_t)p->graph->leaves->n * sizeof(struct leaf *)), .from = SIZE_MAX
            };
        phase = p->planned[n->id].phase;
        p->exchange[p->n_exchanges - 1].end = i + 1;
        add_to_exchange(p, &p->exchange[p->n_exchanges - 1], n);
    }
}

void ranks_plan(struct plan *p)
{
    if (mesh_ranks(&p->graph->leaves->here.mesh) == 1 || !(p->backward.n || p->trains)) return;
    cut_gradients(p);
    plan_exchanges(p);
}

/* ---- exchange ---- */

static void reduce(struct plan *p, void *data, size_t bytes, enum reduction how, unsigned over)
{
    if (bytes == 0 || place_group(&comm_here()->place, over) == 1) return;
    pace_settle();
    p->how.backend->reduce(p->state->device, data, (int64_t)(bytes / sizeof(real)), how, over);
    pace_resume();
}

void ranks_reduce_grads(struct plan *p, int *bucket, int done)
{
    for (; *bucket < p->n_buckets && p->bucket[*bucket].ready <= done; ++*bucket)
        reduce(p, p->state->slab[SLAB_GRADS] + p->bucket[*bucket].from, p->bucket[*bucket].to - p->bucket[*bucket].from,
               REDUCE_SUM, p->bucket[*bucket].over);
}

void ranks_reduce_ahead(struct plan *p)
{
    if (comm_here()->ranks == 1 || p->aheads == 0) return;
    reduce(p, p->carries, p->aheads, REDUCE_SUM, OVER_DATA);
    p->how.backend->meet(p->state->device);
}

void ranks_reduce_carries(struct plan *p)
{
    if (comm_here()->ranks == 1) return;
    reduce(p, p->carries + p->aheads, p->sums - p->aheads, REDUCE_SUM, OVER_DATA | OVER_PIPELINE);
    reduce(p, p->carries + p->sums, p->maxes - p->sums, REDUCE_MAX, OVER_ALL);
    reduce(p, p->carries + p->maxes, p->lasts - p->maxes, REDUCE_SUM, OVER_PIPELINE);
    p->how.backend->meet(p->state->device);
}

void ranks_share_homes(struct plan *p)
{
    if (place_group(&comm_here()->place, OVER_PP) == 1) return;
    reduce(p, p->carries + p->changes, p->homes - p->changes, REDUCE_SUM, OVER_PP);
    p->how.backend->meet(p->state->device);
}

void ranks_give(struct plan *p, const struct leaf *l)
{
    const struct place *here = &comm_here()->place;
    unsigned over = leaf_replicas(l);
    if (!state_has(l) || place_group(here, over) == 1) return;
    pace_settle();
    p->how.backend->broadcast(p->state->device, state_data(p->state, l), leaf_bytes(l),
                              place_member(here, over, l->holder - 1), over);
    pace_resume();
}

/* The weights that other ranks updated, and what updates say of themselves: nothing on the ranks
   that did not run them. */
void ranks_share_updates(struct plan *p, int exchange)
{
    const struct backend *b = p->how.backend;
    struct state *s = p->state;
    const struct exchange *x = &p->exchange[exchange];
    int first = exchange ? x[-1].end : 0;
    for (int i = 0; i < x->n; i++) ranks_give(p, x->leaf[i]);
    reduce(p, p->carries + x->from, x->to - x->from, REDUCE_SUM, OVER_ALL);
    b->meet(s->device);
    for (int i = first; i < x->end; i++) {
        const struct call *c = &p->update.call[i];
        for (int k = 0; k < c->args.n_in && !ranks_mine(c); k++)
            if (c->args.in[k].data && c->args.in[k].packed && update_changes(c->node, k))
                b->pack(s->device, &c->args.in[k]);
    }
}
