/* Layers to stages, by what they cost. A node is in the stage of its layer, or in that of the last of its inputs, if
   that is later: so a stage reads what earlier ones made, and no later one. */
#include "stages.h"
#include "filled.h"
#include "signature.h"

#include <math.h>
#include <stdlib.h>

enum { FLOPS_A_BYTE = 8 };                                  /* of a processor, about */

static double cost_of(const struct node *n, struct filled f)
{
    struct cost c = { 0, 0 };
    if (n->op->kind != OP_COMPUTE || n->region != REGION_MICRO) return 0;
    if (n->op->cost) n->op->cost(n, &c);
    for (int k = 0; c.bytes == 0 && k < n->n_out; k++)
        c.bytes += 4 * (double)shape_count(n->out[k].shape) * filled_share(f, n->out[k].shape);
    return c.flops * filled_work(f, n) + FLOPS_A_BYTE * c.bytes;
}

/* What layers cost, what lies between two with the first of them. */
static double *layer_costs(const struct graph *g, int layers)
{
    double *cost = xcalloc((size_t)layers, sizeof *cost);
    struct filled *filled = graph_filled(g);
    for (int i = 0, at = 0; i < g->n; i++) {
        if (g->node[i]->layer >= 0) at = g->node[i]->layer;
        cost[at] += cost_of(g->node[i], filled[i]);
    }
    free(filled);
    return cost;
}

/* Consecutive layers to n stages so that the dearest costs the least: best[s][l] is that of layers from l on in the
   last s stages. */
static void divide_layers(const double *cost, int layers, int n, int *first)
{
    size_t width = (size_t)layers + 1;
    double *best = xmalloc((size_t)(n + 1) * width * sizeof *best);
    int *cut = xcalloc((size_t)(n + 1) * width, sizeof *cut);
    for (size_t i = 0; i < (size_t)(n + 1) * width; i++) best[i] = INFINITY;
    best[layers] = 0;
    for (int s = 1; s <= n; s++)
        for (int l = layers - 1; l >= 0; l--) {
            double sum = 0;
            for (int to = l + 1; to <= layers; to++) {
                sum += cost[to - 1];
                double dearest = fmax(sum, best[(size_t)(s - 1) * width + (size_t)to]);
                if (dearest >= best[(size_t)s * width + (size_t)l]) continue;
                best[(size_t)s * width + (size_t)l] = dearest;
                cut[(size_t)s * width + (size_t)l] = to;
            }
        }
    for (int s = 0, l = 0; s < n; s++) {
        first[s] = l;
        l = cut[(size_t)(n - s) * width + (size_t)l];
    }
    free(best);
    free(cut);
}

static int layers_of(const struct graph *g)
{
    int layers = 0;
    for (int i = 0; i < g->n; i++) if (g->node[i]->layer >= layers) layers = g->node[i]->layer + 1;
    return layers;
}

static bool decide(struct graph *g, struct stages *s)
{
    int layers = layers_of(g);
    if (layers < s->n) {
        graph_fail(g, "train.ranks: a pipeline of %d stages, and the model has %d layers: at most so many", s->n,
                   layers);
        return false;
    }
    double *cost = layer_costs(g, layers);
    s->first = arena_alloc(g->leaves->arena, (size_t)s->n * sizeof *s->first);
    divide_layers(cost, layers, s->n, s->first);
    free(cost);
    return true;
}

/* Where a weight is that another graph has placed. */
static int stage_with(const struct stages *s, int from, const struct leaf *l)
{
    int stage = from;
    while (l->home && stage + 1 < s->n && s->home[stage] + 1 != l->home) stage++;
    return stage;
}

static int stage_of_layer(const struct stages *s, int layer)
{
    int stage = 0;
    while (stage + 1 < s->n && layer >= s->first[stage + 1]) stage++;
    return stage;
}

/* Where a weight is read: its home, or none if that is more than one rank. Other graphs go by the first one. */
static void find_home(struct graph *g, struct leaf *l, int home, bool *seen)
{
    if (l->kind != LEAF_WEIGHT) return;
    if (g->leaves->staged && l->home && l->home != home)
        graph_fail(g, "train.ranks.pp: %s is read in another stage than in training", l->path);
    if (!g->leaves->staged && l->home != home) l->home = seen[l->id] ? 0 : home;
    seen[l->id] = true;
}

/* The weight or buffer that a node of the micro-batch reads. */
static struct leaf *read_leaf(const struct node *n, int input)
{
    bool reads = n->in[input] && n->op->kind == OP_COMPUTE && n->region == REGION_MICRO;
    return reads ? node_root(n->in[input]).node->leaf : NULL;
}

void graph_stages(struct graph *g)
{
    struct stages *s = &g->leaves->stages;
    if (g->failed || s->n <= 1 || (!s->first && !decide(g, s))) return;
    bool *seen = xcalloc((size_t)g->leaves->n + 1, sizeof *seen);
    for (int i = 0; i < g->n && !g->failed; i++) {
        struct node *n = g->node[i];
        n->stage = n->layer >= 0 ? stage_of_layer(s, n->layer) : 0;
        for (int k = 0; k < n->n_in; k++) if (n->in[k] && n->in[k]->stage > n->stage) n->stage = n->in[k]->stage;
        for (int k = 0; k < n->n_in && g->leaves->staged; k++)
            if (read_leaf(n, k)) n->stage = stage_with(s, n->stage, read_leaf(n, k));
        for (int k = 0; k < n->n_in; k++)
            if (read_leaf(n, k)) find_home(g, read_leaf(n, k), s->home[n->stage] + 1, seen);
    }
    free(seen);
    g->leaves->staged = true;
}

static bool takes_any_number(const struct op *op)
{
    struct op_value in;
    return op_input(op, 0, &in) && in.many;
}

/* What an update says of itself all ranks hear, so its reader has no home by it. */
static int home_of(const struct node *in)
{
    const struct node *root = node_root(in).node;
    if (root->leaf) return root->leaf->kind == LEAF_GRAD ? root->leaf->of->home : root->leaf->home;
    return root->region == REGION_UPDATE && !op_changes(root->op) ? root->home : 0;
}

void graph_homes(struct graph *g)
{
    for (int i = 0; i < g->n && g->leaves->stages.n > 1; i++) {
        struct node *n = g->node[i];
        if (n->region != REGION_UPDATE || n->op->kind != OP_COMPUTE || takes_any_number(n->op)) continue;
        for (int k = 0; k < n->n_in; k++) {
            int home = n->in[k] ? home_of(n->in[k]) : 0;
            INVARIANT(!home || !n->home || home == n->home, "%s: %s reads weights of two stages", n->path, n->op->name);
            if (home) n->home = home;
        }
    }
}
