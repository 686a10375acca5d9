/* The order of calls: which nodes run, which wait for others, and which run together, a block of rows at a time. Time is the
   number of a call in the order in which all of a step's calls run; calls that run together share theirs. */
#include "plan_private.h"

#include <stdlib.h>

/* A node is live when a loss, a carry, an update or the caller's outputs need it. */
static void mark_live(struct plan *p, const struct node *n)
{
    if (p->place[n->id].live) return;
    p->place[n->id].live = true;
    for (int i = 0; i < n->n_in; i++) mark_live(p, n->in[i]);
}

static void find_live(struct plan *p)
{
    struct graph *g = p->graph;
    for (int i = 0; i < g->n_losses; i++) mark_live(p, g->loss[i].value);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool effect = n->op->kind == OP_COMPUTE && (n->op->changes_inputs || n->op->in_place || n->op->index == OP_carry);
        if (effect || n->output_of_graph || g->keep) mark_live(p, n);
    }
}

/* A node runs backward when a gradient arrives and one of its inputs wants one. */
static void find_backward(struct plan *p)
{
    struct graph *g = p->graph;
    bool *arrives = xcalloc((size_t)g->n + 1, sizeof *arrives);
    for (int i = 0; i < g->n_losses; i++) if (g->loss[i].value->grad) arrives[plan_root_of(g->loss[i].value).node->id] = true;
    for (int i = g->n - 1; i >= 0; i--) {
        const struct node *n = g->node[i];
        if (!arrives[i] || !n->grad || n->op->kind != OP_COMPUTE) continue;
        p->place[i].backward = true;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]->grad && !(n->op->no_grad >> k & 1)) arrives[plan_root_of(n->in[k]).node->id] = true;
    }
    free(arrives);
}

/* ---- the order of calls ---- */

/* Whether what follows from node `first` can wait for the backward walk: no backward call of it reads what is not there yet. */
static bool can_wait(const struct plan *p, const struct node *first, bool *follows)
{
    const struct graph *g = p->graph;
    memset(follows, 0, (size_t)g->n * sizeof *follows);
    follows[first->id] = true;
    for (int i = first->id + 1; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool waits = n->region == REGION_MICRO && p->place[i].backward && n->op->kind == OP_COMPUTE;
        for (int k = 0; k < n->n_in; k++) {
            if (n->region != REGION_MICRO || !follows[n->in[k]->id]) continue;
            follows[i] = true;
            if (waits && n->op->reads_in >> k & 1) return false;
        }
        if (follows[i] && waits && (n->op->reads_out || n->n_save)) return false;
    }
    return true;
}

/* A loss over a large vocabulary makes its logits once when its backward call runs with its forward call: gradients of what follows
   from it need none of its values. What follows then runs when the last such node that it needs has run. */
static void find_joint(struct plan *p)
{
    struct graph *g = p->graph;
    bool *follows = xcalloc((size_t)g->n + 1, sizeof *follows);
    for (int i = 0; i < g->n; i++) p->place[i].after = NONE;
    for (int i = g->n - 1; i >= 0 && !g->keep; i--) {
        const struct node *n = g->node[i];
        if (n->op->kind != OP_COMPUTE || !n->op->joins || !p->place[i].backward || !can_wait(p, n, follows)) continue;
        p->place[i].joint = true;
        for (int k = i + 1; k < g->n; k++) if (follows[k]) p->place[k].after = i;
    }
    free(follows);
}

/* ---- chains ---- */

/* A chain: calls one after the other in which row r of every result needs only row r of what the others in it make. Run
   a block of rows at a time, it keeps what one call makes in the cache for the next. */
struct chain { int number, calls; int64_t rows; };

enum { FEWEST_ROWS = 256 };                                 /* below, there is nothing to keep in a cache */

/* Rows of a node that works row by row, or 0. */
static int64_t rows_of(const struct node *n, bool back)
{
    int64_t rows = n->shape.dim[0];
    if (n->op->kind != OP_COMPUTE || !n->op->rows || (back && !n->op->rows_back)) return 0;
    for (int k = 0; k < n->n_out; k++) if (n->out[k].shape.dim[0] != rows) return 0;
    for (int k = 0; k < n->n_save; k++) if (n->save[k].shape.dim[0] != rows) return 0;
    for (int k = 0; k < n->n_in; k++) if (n->op->rows >> k & 1 && n->in[k]->shape.dim[0] != rows) return 0;
    return rows >= FEWEST_ROWS ? rows : 0;
}

/* What is read as a whole must be there, and a gradient of it is a weight's, which is computed when the chain is done. */
static bool fits(const struct plan *p, const struct node *n, const struct chain *r, bool back)
{
    for (int k = 0; k < n->n_in; k++) {
        if (n->op->rows >> k & 1) continue;
        const struct node *root = plan_root_of(n->in[k]).node;
        if (back ? n->in[k]->grad && !(n->op->no_grad >> k & 1) && root->op != &op_leaf : root->op != &op_leaf && p->place[root->id].chain_forward == r->number) return false;
    }
    return true;
}

static int *chain_at(struct plan *p, int i, bool back) { return back ? &p->place[i].chain_backward : &p->place[i].chain_forward; }

/* The time of node i's call: that of the chain which it goes on with, or a new one. */
static int call_time(struct plan *p, int i, bool back, struct chain *r, int *now)
{
    const struct node *n = p->graph->node[i];
    int64_t rows = p->graph->keep || !p->backend->cuts_rows ? 0 : rows_of(n, back);
    if (n->op->kind != OP_COMPUTE || !p->place[i].live) return *now;
    if (rows && rows == r->rows && fits(p, n, r, back)) {
        r->calls++;
        *chain_at(p, i, back) = r->number;
        return *now - 1;
    }
    *r = (struct chain){ r->number + 1, 1, rows && fits(p, n, &(struct chain){ .number = NONE - 1 }, back) ? rows : 0 };
    if (r->rows) *chain_at(p, i, back) = r->number;
    return (*now)++;
}

static void count_calls(struct plan *p)
{
    struct graph *g = p->graph;
    struct chain r = { 0 };
    int now = 0;
    for (int i = 0; i < g->n; i++) p->place[i].chain_forward = p->place[i].chain_backward = NONE;
    for (int i = 0; i < g->n; i++)
        if (g->node[i]->region == REGION_MICRO && p->place[i].after == NONE && !p->place[i].joint) p->place[i].time_forward = call_time(p, i, false, &r, &now);
    p->first_backward = now;
    r.rows = 0;
    for (int i = g->n - 1; i >= 0; i--) {
        if (!p->place[i].backward) continue;
        p->place[i].time_backward = call_time(p, i, true, &r, &now);
        if (!p->place[i].joint) continue;
        p->place[i].time_forward = p->place[i].time_backward;
        for (int k = i + 1; k < g->n; k++) if (p->place[k].after == i) p->place[k].time_forward = now++;
    }
    for (int i = 0; i < g->n; i++) if (g->node[i]->region == REGION_UPDATE) p->place[i].time_forward = now++;
    p->end = now;
}

void order_find(struct plan *p)
{
    find_live(p);
    find_backward(p);
    find_joint(p);
    count_calls(p);
}
