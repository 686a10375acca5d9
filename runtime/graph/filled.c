/* Rows on their way through experts: from to_experts on, up to from_experts. */
#include "filled.h"
#include "ops.h"

#include <stdlib.h>

struct filled *graph_filled(const struct graph *g)
{
    struct filled *all = xcalloc((size_t)g->n + 1, sizeof *all);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->op == &op_to_experts)
            all[i] = (struct filled){ n->shape.dim[0], n->in[0]->shape.dim[0] };
        for (int k = 0; k < n->n_in && all[i].room == 0; k++)
            if (n->in[k] && n->in[k]->op != &op_from_experts) all[i] = all[n->in[k]->id];
        if (all[i].rows > all[i].room) all[i].rows = all[i].room;
    }
    return all;
}

double filled_work(struct filled f, const struct node *n)
{
    double share = 1;
    for (int k = 0; k < n->n_in; k++) {
        double its = n->in[k] ? filled_share(f, n->in[k]->shape) : 1;
        if (its < share) share = its;
    }
    return share;
}
