/* The fingerprint of a graph: a hash of everything that decides what is computed. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_MOST = 1 << 16 };                              /* of a longer run, that many evenly */

/* Whether a node matters to what is computed: probes and what only they read do not. */
static void mark(const struct graph *g, bool *used, const struct node *n)
{
    if (used[n->id]) return;
    used[n->id] = true;
    for (int i = 0; i < n->n_in; i++) if (n->in[i]) mark(g, used, n->in[i]);
}

static struct hash hash_text(struct hash h, const char *text) { return hash_more(h, text, strlen(text) + 1); }

/* The expression of a control is code and its settings; its values over the run stand for both. */
static struct hash hash_control(struct hash h, const struct control *c, int64_t steps)
{
    double scale = c->scale;
    h = hash_more(h, &scale, sizeof scale);
    for (int64_t step = 0; step <= steps && c->at; step += steps / STEPS_MOST + 1) {
        double value = c->at(c->conf, scale, step, steps);
        h = hash_more(h, &value, sizeof value);
    }
    return h;
}

static struct hash hash_leaf(struct hash h, const struct leaf *l, int64_t steps)
{
    h = hash_text(h, l->path);
    h = hash_more(h, &l->kind, sizeof l->kind);
    if (l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER) {
        double rule[] = { (double)l->init.kind, l->init.value, l->init.std, l->init.cut, l->init.first,
                          (double)l->role };
        h = hash_more(h, rule, sizeof rule);
    }
    if (l->kind == LEAF_WEIGHT && l->frozen) h = hash_text(h, "frozen");
    return l->kind == LEAF_CONTROL ? hash_control(h, &l->control, steps) : h;
}

struct hash graph_fingerprint(const struct graph *g, int64_t steps)
{
    bool *used = xcalloc((size_t)g->n + 1, sizeof *used);
    int *number = xcalloc((size_t)g->n + 1, sizeof *number), next = 0;
    for (int i = 0; i < g->n_losses; i++) mark(g, used, g->loss[i].value);
    /* Update nodes act through what they change, so all count that no probe alone asked for. */
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->region == REGION_UPDATE && n->op->kind == OP_COMPUTE && op_changes(n->op)) mark(g, used, n);
        if (g->n_losses == 0 && n->op->kind == OP_COMPUTE && !n->op->bridges) mark(g, used, n);
    }
    struct hash h = hash_bytes("sluice graph 1", 14);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (!used[i]) continue;
        number[i] = ++next;
        h = hash_text(h, n->op->name);
        h = hash_more(h, &n->region, sizeof n->region);
        if (n->leaf) h = hash_leaf(h, n->leaf, steps);
        if (n->attr_size) h = hash_more(h, n->attr, n->attr_size);
        h = hash_more(h, &n->shape.rank, sizeof n->shape.rank);
        h = hash_more(h, n->shape.dim, (size_t)n->shape.rank * sizeof n->shape.dim[0]);
        h = hash_more(h, &n->dtype, sizeof n->dtype);
        for (int k = 0; k < n->n_in; k++) {
            int from = n->in[k] ? number[n->in[k]->id] : 0;
            h = hash_more(h, &from, sizeof from);
        }
    }
    for (int i = 0; i < g->n_losses; i++) {
        h = hash_more(h, &number[g->loss[i].value->id], sizeof(int));
        h = hash_more(h, &g->loss[i].weight, sizeof g->loss[i].weight);
        h = hash_more(h, &g->loss[i].of_step, sizeof g->loss[i].of_step);
    }
    free(used);
    free(number);
    return h;
}
