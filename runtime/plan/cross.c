/* What crosses from one stage of a pipeline to the next. A value that later stages read passes through all stages
   between, and its gradient the same way back, so that a stage hears from its neighbours alone. */
#include "plan_private.h"

#include <stdlib.h>

/* The last stage that reads an output, and the last whose backward calls write its gradient; -1: none. */
struct reach { int value, grad; };

static void extend(struct reach *r, const struct plan *p, const struct node *n, int input)
{
    if (n->stage > r->value) r->value = n->stage;
    if (p->planned[n->id].backward && node_wants(n, input) && n->stage > r->grad) r->grad = n->stage;
}

static struct reach *find_reach(const struct plan *p)
{
    const struct graph *g = p->graph;
    struct reach *reach = xmalloc((size_t)(g->n + 1) * NODE_OUTS * sizeof *reach);
    for (int i = 0; i < g->n * NODE_OUTS; i++) reach[i] = (struct reach){ -1, -1 };
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->op->kind != OP_COMPUTE || n->region != REGION_MICRO || !p->planned[i].live) continue;
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            struct root r = node_root(n->in[k]);
            if (r.node->op->kind == OP_COMPUTE && r.node->region == REGION_MICRO)
                extend(&reach[r.node->id * NODE_OUTS + r.output], p, n, k);
        }
    }
    return reach;
}

static void add_crossing(struct plan *p, struct crossings *to, const struct node *n, int output, bool grad)
{
    if (!to->crossing) to->crossing = arena_alloc(p->arena, (size_t)(p->graph->n + 1) * sizeof *to->crossing);
    to->crossing[to->n++] = (struct crossing){ n, output, NONE, grad ? 0 : NONE };
}

/* Who of this rank's stages writes gradients of weights; those that all ranks have and none of its stages writes. */
static void find_writers(struct plan *p)
{
    const struct graph *g = p->graph;
    const struct leaves *leaves = g->leaves;
    int here = place_index(&leaves->here, OVER_PP);
    p->writer = arena_alloc(p->arena, (size_t)(leaves->n + 1) * sizeof *p->writer);
    p->unwritten = arena_alloc(p->arena, (size_t)(leaves->n + 1) * sizeof(struct leaf *));
    for (int i = 0; i < leaves->n; i++) p->writer[i] = NONE;
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (!p->planned[i].backward) continue;
        p->trains = true;
        for (int k = 0; k < n->n_in && leaves->stages.home[n->stage] == here; k++) {
            const struct leaf *l = plan_leaf_of(n->in[k]);
            if (l && node_wants(n, k) && n->stage > p->writer[l->id]) p->writer[l->id] = n->stage;
        }
    }
    for (int i = 0; p->trains && i < leaves->n; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (leaf_trains(l) && !l->home && p->writer[i] == NONE) p->unwritten[p->n_unwritten++] = l;
    }
}

void cross_find(struct plan *p)
{
    if (p->part != PART_ALL) find_writers(p);
    if (p->part < 0) return;
    struct reach *reach = find_reach(p);
    for (int i = 0; i < p->graph->n; i++)
        for (int k = 0; k < NODE_OUTS; k++) {
            const struct node *n = p->graph->node[i];
            struct reach r = reach[i * NODE_OUTS + k];
            if (n->stage < p->part && r.value >= p->part) {
                add_crossing(p, &p->incoming, n, k, r.grad >= p->part);
                p->planned[i].comes |= 1u << k;
            }
            if (n->stage <= p->part && r.value > p->part) add_crossing(p, &p->outgoing, n, k, r.grad > p->part);
        }
    free(reach);
}
