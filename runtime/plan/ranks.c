/* Plans over several ranks. Each rank computes the gradient of its part of the batch; the gradients are added over the ranks in
   pieces, while backward goes on. Each weight is then updated by one rank, which alone keeps what its optimizer remembers of it
   (ZeRO-1; a weight is not cut), and goes from there to the others. */
#include "plan_private.h"
#include "place.h"

#include <stdlib.h>

static bool changes_weight(const struct node *n) { return op_changes(n->op) && node_root(n->in[0]).node->leaf && node_root(n->in[0]).node->leaf->kind == LEAF_WEIGHT; }
static struct leaf *leaf_of(const struct node *n) { return n ? node_root(n).node->leaf : NULL; }

/* In the order of the graph, each to the rank with the least so far. */
void ranks_hold(struct plan *p)
{
    int ranks = comm_here()->ranks;
    if (ranks == 1) return;
    double *load = xcalloc((size_t)ranks, sizeof *load);
    for (int i = 0; i < p->graph->n; i++) {
        const struct node *n = p->graph->node[i];
        if (n->op->kind != OP_COMPUTE || !changes_weight(n)) continue;
        int least = 0;
        for (int r = 1; r < ranks; r++) if (load[r] < load[least]) least = r;
        load[least] += (double)shape_count(n->in[0]->shape);
        for (int k = 0; k < n->n_in; k++) {
            struct leaf *l = leaf_of(n->in[k]);
            if (l && (k == 0 || l->kind == LEAF_BUFFER)) l->holder = least + 1;
        }
    }
    free(load);
}

bool ranks_mine(const struct call *update)
{
    return !changes_weight(update->node) || leaf_of(update->node->in[0])->holder == 0 || leaf_of(update->node->in[0])->holder == comm_here()->rank + 1;
}

/* ---- pieces of the gradients ---- */

enum { PIECES = 8, LEAST = 256 << 10, MOST = 32 << 20 };

/* The backward call that is the last to add to the gradient of a weight. */
static int complete_after(const struct plan *p, const struct leaf *weight)
{
    for (int i = p->backward.n - 1; i >= 0; i--) {
        const struct call *c = &p->backward.call[i];
        for (int k = 0; c->args.din && k < c->args.n_in; k++)
            if (c->args.din[k].data && leaf_of(c->node->in[k]) == weight) return i + 1;
    }
    return 0;
}

/* From the last weight to the first: backward comes by them in about this order. */
static void cut_gradients(struct plan *p)
{
    const struct leaves *leaves = p->graph->leaves;
    size_t end = state_layout(p->graph->leaves).weights, least = end / PIECES;
    least = least < LEAST ? LEAST : least > MOST ? MOST : least;
    p->bucket = arena_alloc(p->arena, (end / least + 2) * sizeof *p->bucket);
    struct bucket now = { end, end, 0 };
    for (int i = leaves->n - 1; i >= 0; i--) {
        const struct leaf *l = leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT) continue;
        int after = complete_after(p, l);
        now.from = l->offset;
        now.after = after > now.after ? after : now.after;
        if (now.to - now.from < least && now.from > 0) continue;
        p->bucket[p->n_buckets++] = now;
        now = (struct bucket){ now.from, now.from, now.after };     /* pieces go in their order */
    }
}

void ranks_plan(struct plan *p)
{
    if (comm_here()->ranks == 1 || p->backward.n == 0) return;
    cut_gradients(p);
    for (int i = 0; i < p->update.n; i++) if (changes_weight(p->update.call[i].node)) p->shared = i + 1;
    for (int i = 0; i < p->shared; i++)
        for (int k = 0; k < p->update.call[i].args.n_in; k++)
            INVARIANT(!p->update.call[i].node->in[k] || !changes_weight(node_root(p->update.call[i].node->in[k]).node), "%s reads what an update left before all have run", p->update.call[i].node->path);
}

/* ---- exchange ---- */

static void reduce(struct plan *p, void *data, size_t bytes, enum reduction how)
{
    if (bytes) p->how.backend->reduce(p->state->device, data, (int64_t)(bytes / sizeof(real)), how);
}

void ranks_reduce_grads(struct plan *p, int *bucket, int done)
{
    for (; *bucket < p->n_buckets && p->bucket[*bucket].after <= done; ++*bucket)
        reduce(p, (char *)p->state->grads + p->bucket[*bucket].from, p->bucket[*bucket].to - p->bucket[*bucket].from, REDUCE_SUM);
}

void ranks_reduce_ahead(struct plan *p)
{
    if (comm_here()->ranks == 1 || p->aheads == 0) return;
    reduce(p, p->carries, p->aheads, REDUCE_SUM);
    p->how.backend->meet(p->state->device);
}

void ranks_reduce_carries(struct plan *p)
{
    if (comm_here()->ranks == 1) return;
    reduce(p, p->carries + p->aheads, p->sums - p->aheads, REDUCE_SUM);
    reduce(p, p->carries + p->sums, p->maxes - p->sums, REDUCE_MAX);
    p->how.backend->meet(p->state->device);
}

/* The weights that other ranks updated, and what updates say of themselves: nothing on the ranks that did not run them. */
void ranks_share_updates(struct plan *p)
{
    const struct backend *b = p->how.backend;
    struct state *s = p->state;
    for (int i = 0; i < p->shared; i++) {
        const struct leaf *l = changes_weight(p->update.call[i].node) ? leaf_of(p->update.call[i].node->in[0]) : NULL;
        if (l && l->holder) b->broadcast(s->device, state_data(s, l), leaf_bytes(l), l->holder - 1);
    }
    reduce(p, p->carries + p->changes, p->changes_end - p->changes, REDUCE_SUM);
    b->meet(s->device);
    for (int i = 0; i < p->shared; i++) {
        const struct call *c = &p->update.call[i];
        for (int k = 0; k < c->args.n_in && !ranks_mine(c); k++) if (c->args.in[k].packed) b->pack(s->device, &c->args.in[k]);
    }
}
