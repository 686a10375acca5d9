/* The order of calls: which nodes run, which wait for others, and which run together, a block of rows at a time. Time
   is the number of a call in the order in which all of a step's calls run; calls that run together share theirs. */
#include "plan_private.h"

#include <stdlib.h>

/* A node is live when a loss, a carry, an update or the caller's outputs need it. */
static void mark_live(struct plan *p, const struct node *n)
{
    if (p->planned[n->id].live) return;
    p->planned[n->id].live = true;
    for (int i = 0; i < n->n_in; i++) if (n->in[i]) mark_live(p, n->in[i]);
}

static void find_live(struct plan *p)
{
    struct graph *g = p->graph;
    for (int i = 0; i < g->n_losses; i++) mark_live(p, g->loss[i].value);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool effect = n->op->kind == OP_COMPUTE && (op_changes(n->op) || n->op->in_place || n->op->bridges);
        if (effect || n->output_of_graph || g->keep) mark_live(p, n);
    }
}

/* What this plan runs of it. */
static void find_here(struct plan *p)
{
    for (int i = 0; i < p->graph->n; i++) {
        const struct node *n = p->graph->node[i];
        struct planned *at = &p->planned[i];
        bool micro = n->region == REGION_MICRO, mine = p->part == PART_ALL || (p->part == PART_REST) != micro;
        at->here = at->live && mine && (p->part < 0 || n->stage == p->part);
        at->backward = at->backward && at->here;
    }
}

/* What is made of a weight alone and stays through a step. */
static void find_once(struct plan *p)
{
    for (int i = 0; i < p->graph->n; i++) {
        const struct node *n = p->graph->node[i];
        const struct leaf *l = n->n_in == 1 ? plan_leaf_of(n->in[0]) : NULL;
        p->planned[i].once = n->op->once && n->region == REGION_MICRO && l && l->kind == LEAF_WEIGHT;
    }
}

/* A node runs backward when a gradient arrives and one of its inputs wants one. */
static void find_backward(struct plan *p)
{
    struct graph *g = p->graph;
    bool *arrives = xcalloc((size_t)g->n + 1, sizeof *arrives);
    for (int i = 0; i < g->n_losses; i++)
        if (g->loss[i].value->grad) arrives[node_root(g->loss[i].value).node->id] = true;
    for (int i = g->n - 1; i >= 0; i--) {
        const struct node *n = g->node[i];
        if (!arrives[i] || !n->grad || n->op->kind != OP_COMPUTE) continue;
        p->planned[i].backward = true;
        for (int k = 0; k < n->n_in; k++)
            if (node_wants(n, k)) arrives[node_root(n->in[k]).node->id] = true;
    }
    free(arrives);
}

/* ---- the order of calls ---- */

/* Whether what follows from node `first` can wait for the backward walk: no backward call of it reads
   what is not there yet. */
static bool can_wait(const struct plan *p, const struct node *first, bool *depends)
{
    const struct graph *g = p->graph;
    memset(depends, 0, (size_t)g->n * sizeof *depends);
    depends[first->id] = true;
    for (int i = first->id + 1; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool waits = n->region == REGION_MICRO && p->planned[i].backward && n->op->kind == OP_COMPUTE;
        for (int k = 0; k < n->n_in; k++) {
            if (n->region != REGION_MICRO || !n->in[k] || !depends[n->in[k]->id]) continue;
            depends[i] = true;
            if (waits && has_bit(n->op->reads_in, k)) return false;
        }
        if (depends[i] && waits && (n->op->reads_out || n->n_save)) return false;
    }
    return true;
}

/* A loss over a large vocabulary makes its logits once when its backward call runs with its forward call:
   gradients of what follows from it need none of its values. What follows then runs when the last such node
   that it needs has run. */
static void find_joint(struct plan *p)
{
    struct graph *g = p->graph;
    bool *depends = xcalloc((size_t)g->n + 1, sizeof *depends);
    for (int i = 0; i < g->n; i++) p->planned[i].follows = NONE;
    for (int i = g->n - 1; i >= 0 && !g->keep; i--) {
        const struct node *n = g->node[i];
        if (n->op->kind != OP_COMPUTE || !n->op->joins || !p->planned[i].backward || !can_wait(p, n, depends)) continue;
        p->planned[i].joint = true;
        for (int k = i + 1; k < g->n; k++) if (depends[k]) p->planned[k].follows = i;
    }
    free(depends);
}

/* Whether the backward call reads input k. */
static bool reads_back(const struct node *n, int k) { return n->in[k] && has_bit(n->op->reads_in, k); }

/* Values that backward calls read. */
static bool *read_back(const struct plan *p)
{
    const struct graph *g = p->graph;
    bool *read = xcalloc((size_t)g->n + 1, sizeof *read);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (!p->planned[i].backward) continue;
        read[i] |= n->op->reads_out != 0;
        for (int k = 0; k < n->n_in; k++) if (reads_back(n, k)) read[node_root(n->in[k]).node->id] = true;
    }
    return read;
}

/* Values that are read outside of the layer that makes them, or by what waits for the backward walk. */
static bool *read_elsewhere(const struct plan *p)
{
    const struct graph *g = p->graph;
    bool *read = xcalloc((size_t)g->n + 1, sizeof *read);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool waits = p->planned[i].joint || p->planned[i].follows != NONE;
        for (int k = 0; k < n->n_in; k++) {
            const struct node *of = n->in[k] ? node_root(n->in[k]).node : n;
            if (p->planned[i].live && (waits || of->layer != n->layer || of->region != n->region)) read[of->id] = true;
        }
    }
    return read;
}

/* What a call of forward leaves behind nothing but values. */
static bool may_repeat(const struct plan *p, const struct node *n)
{
    const struct planned *at = &p->planned[n->id];
    return n->op->kind == OP_COMPUTE && n->region == REGION_MICRO && at->live && !n->output_of_graph && !at->joint &&
           at->follows == NONE && !at->once && !op_changes(n->op) && !n->op->in_place && !n->op->bridges;
}

static void find_recompute(struct plan *p)
{
    const struct graph *g = p->graph;
    bool full = p->how.recompute == RECOMPUTE_FULL, none = p->how.recompute == RECOMPUTE_NONE;
    if (g->keep) return;
    bool *read = full ? read_elsewhere(p) : read_back(p);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool cheap = n->op->cheap && (n->op->again || !none) && (p->planned[i].backward || !n->op->gradient) &&
                     n->n_out == 1 && n->n_save == 0;
        p->planned[i].recompute = may_repeat(p, n) && (full ? n->layer >= 0 && !read[i] : cheap && read[i]);
    }
    free(read);
}

/* What products want packed. */
static void find_packed(struct plan *p)
{
    for (int i = 0; i < p->graph->n; i++) {
        const struct node *n = p->graph->node[i];
        for (int k = 0; k < n->n_in; k++) {
            struct leaf *l = plan_leaf_of(n->in[k]);
            if (n->op->kind != OP_COMPUTE || !p->planned[i].here || !has_bit(n->op->packs, k) || !l ||
                l->kind != LEAF_WEIGHT)
                continue;
            l->packed_bytes = p->how.backend->packed_bytes(l->decl.shape, plan_format_of(p, DTYPE_ACT));
        }
    }
}

/* ---- chains ---- */

/* A chain: calls one after the other in which row r of every result needs only row r of what the others in it make. Run
   a block of rows at a time, it keeps what one call makes in the cache for the next. */
struct chain { int number; int64_t rows; };

enum { FEWEST_ROWS = 256 };                                 /* below, there is nothing to keep in a cache */

/* Rows of a node that works row by row, or 0. A product would pack its weight anew for each block, if that is not
   packed already or cut into groups, as the rows are. */
static int64_t rows_of(const struct node *n, enum pass pass)
{
    int64_t rows = n->shape.dim[0];
    if (!n->op->rows || (pass == BACKWARD && !n->op->rows_back)) return 0;
    for (int k = 0; k < n->n_in && !n->op->groups; k++) {
        const struct leaf *l = plan_leaf_of(n->in[k]);
        if (has_bit(n->op->packs, k) && !(l && l->packed_bytes)) return 0;
    }
    for (int k = 0; k < n->n_out; k++) if (n->out[k].shape.dim[0] != rows) return 0;
    for (int k = 0; k < n->n_save; k++) if (n->save[k].shape.dim[0] != rows) return 0;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && has_bit(n->op->rows, k) && n->in[k]->shape.dim[0] != rows) return 0;
    return rows >= FEWEST_ROWS ? rows : 0;
}

/* What is read as a whole must be there, and a gradient of it is a weight's, which is computed
   when the chain is done. */
static bool fits(const struct plan *p, const struct node *n, enum pass pass, int chain)
{
    for (int k = 0; k < n->n_in; k++) {
        const struct node *root = n->in[k] ? node_root(n->in[k]).node : NULL;
        if (!root || has_bit(n->op->rows, k) || root->op == &op_leaf) continue;
        if (pass == BACKWARD && node_wants(n, k)) return false;
        if (p->planned[root->id].chain[FORWARD] == chain || p->planned[root->id].chain[RECOMPUTE] == chain)
            return false;
    }
    return true;
}

/* Gives a call its time: that of the chain which it goes on with, or a new one. */
static void add_time(struct plan *p, const struct entry *e, struct chain *c)
{
    const struct node *n = e->node;
    enum pass pass = e->pass;
    struct planned *at = &p->planned[n->id];
    int64_t rows = p->graph->keep || !p->how.backend->cuts_rows || at->joint ? 0 : rows_of(n, pass);
    bool goes_on = rows && rows == c->rows && fits(p, n, pass, c->number);
    if (!goes_on) *c = (struct chain){ c->number + 1, rows && fits(p, n, pass, c->number + 1) ? rows : 0 };
    if (c->rows) at->chain[pass] = c->number;
    at->time[pass] = p->end - goes_on;
    if (at->joint) at->time[FORWARD] = at->time[BACKWARD];
    p->end += !goes_on;
}

/* ---- all calls ---- */

static void add(struct plan *p, const struct node *n, enum pass pass)
{
    if (n->op->kind != OP_COMPUTE || !p->planned[n->id].here) return;
    p->planned[n->id].time[pass] = 0;                       /* there is one, whenever it comes */
    p->order[p->n_order++] = (struct entry){ n, pass };
}

/* Values that are recomputed come before the first call that reads them. */
static void add_recompute(struct plan *p, const struct node *n)
{
    struct planned *at = &p->planned[n->id];
    if (!at->recompute || !at->here || at->time[RECOMPUTE] != NONE) return;
    for (int k = 0; k < n->n_in; k++) if (n->in[k]) add_recompute(p, node_root(n->in[k]).node);
    add(p, n, RECOMPUTE);
}

static void add_backward(struct plan *p, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) if (reads_back(n, k)) add_recompute(p, node_root(n->in[k]).node);
    if (n->op->reads_out || n->n_save) add_recompute(p, n);
    add(p, n, BACKWARD);
}

static void list_passes(struct plan *p)
{
    struct graph *g = p->graph;
    for (int i = 0; i < g->n; i++) if (g->node[i]->region == REGION_AHEAD) add(p, g->node[i], FORWARD);
    p->n_ahead = p->n_order;
    for (int i = 0; i < g->n; i++) if (p->planned[i].once) add(p, g->node[i], FORWARD);
    p->n_once = p->n_order;
    for (int i = 0; i < g->n; i++)
        if (g->node[i]->region == REGION_MICRO && p->planned[i].follows == NONE && !p->planned[i].joint &&
            !p->planned[i].once)
            add(p, g->node[i], FORWARD);
    p->n_forward = p->n_order;
    for (int i = g->n - 1; i >= 0; i--) {
        if (!p->planned[i].backward) continue;
        add_backward(p, g->node[i]);
        for (int k = i + 1; k < g->n && p->planned[i].joint; k++)
            if (p->planned[k].follows == i) add(p, g->node[k], FORWARD);
    }
}

static void list_update(struct plan *p)
{
    struct graph *g = p->graph;
    int phases = 0;
    for (int i = 0; i < g->n; i++) if (p->planned[i].phase >= phases) phases = p->planned[i].phase + 1;
    for (int phase = 0; phase < phases; phase++)
        for (int i = 0; i < g->n; i++)
            if (g->node[i]->region == REGION_UPDATE && p->planned[i].phase == phase) add(p, g->node[i], FORWARD);
}

static void count_calls(struct plan *p)
{
    struct chain c = { 0 };
    for (int i = 0, n = p->n_order; i < n; i++) {
        if (i == p->n_ahead || i == p->n_forward) c.rows = 0;
        if (i == p->n_forward) p->first_backward = p->end;
        add_time(p, &p->order[i], &c);
    }
    if (p->n_forward == p->n_order) p->first_backward = p->end;
}

static void find_order(struct plan *p)
{
    struct graph *g = p->graph;
    p->order = arena_alloc(p->arena, (size_t)(PASSES * g->n + 1) * sizeof *p->order);
    for (int i = 0; i < g->n; i++)
        for (enum pass pass = 0; pass < PASSES; pass++) p->planned[i].chain[pass] = p->planned[i].time[pass] = NONE;
    list_passes(p);
    overlap_order(p, p->n_once, p->n_forward);
    overlap_order(p, p->n_forward, p->n_order);
    list_update(p);
    count_calls(p);
}

void order_find(struct plan *p)
{
    find_live(p);
    find_once(p);
    find_backward(p);
    find_joint(p);
    find_recompute(p);
    cross_find(p);
    find_here(p);
    find_packed(p);
    find_order(p);
}
