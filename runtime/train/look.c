/* A graph of a trained model that lets its nodes be read: its memory, its plan, its end. */
#include "look.h"

#include <stdlib.h>

void look_begin(struct look *k)
{
    k->arena = arena_new();
    k->leaves = leaves_new();
    k->graph = graph_new(k->leaves);
}

int look_end(struct look *k, const struct session *s, int threads, struct err *e)
{
    struct plan_how how = { s->backend, (enum precision)s->train.precision, RECOMPUTE_NONE };
    if (plan_new(&k->plan, k->graph, how, e)) return -1;
    k->state = state_new(k->leaves, s->backend, threads);
    plan_bind(k->plan, k->state, NULL);
    return 0;
}

void look_free(struct look *k)
{
    plan_free(k->plan);
    state_free(k->state);
    graph_free(k->graph);
    leaves_free(k->leaves);
    arena_free(k->arena);
}

/* A view has no memory of its own: what it shows must stay. */
void look_keep(struct graph *g, struct node *n)
{
    n->output_of_graph = true;
    g->node[node_root(n).node->id]->output_of_graph = true;
}

double *look_read(const struct look *k, const struct node *n)
{
    double *x = xmalloc((size_t)shape_count(n->shape) * sizeof *x);
    plan_read(k->plan, n, x);
    return x;
}
