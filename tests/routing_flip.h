/* Where two backends route one model differently. Keys that differ by rounding may fall the other way: a flip. From
   there on everything else may differ, so it is looked for in the first layer that has one. */
#ifndef SLUICE_ROUTING_FLIP_H
#define SLUICE_ROUTING_FLIP_H

#include "plan/plan.h"
#include "graph/ops.h"
#include <stdlib.h>

static inline bool flip_is_choice(const struct node *n)
{
    return n->op == &op_topk || n->op == &op_assign || n->op == &op_drop_over_capacity;
}

/* Keeps what the routers choose readable after a step; before plan_new. */
static inline void flip_watch(struct graph *g)
{
    for (int i = 0; i < g->n; i++) if (flip_is_choice(g->node[i])) g->node[i]->output_of_graph = true;
}

/* Tokens of a layer that chose other experts, whatever the order; margin: between the last key that was chosen and the
   first that was not, the largest of these tokens; 0 where that is not known, as of assignments or of who has room. */
struct flip { int tokens; double margin; const char *path; };

static inline double *flip_values(struct plan *p, const struct node *n, int output)
{
    struct node *of[] = { (struct node *)n },
                value = { .op = &op_result, .n_in = 1, .in = of, .output = output, .shape = n->out[output].shape };
    double *values = xmalloc((size_t)shape_count(value.shape) * sizeof *values);
    plan_read(p, &value, values);
    return values;
}

static inline bool flip_same_set(const double *a, const double *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t more = 0;                                   /* -1, no expert, may be there several times */
        for (int64_t k = 0; k < n; k++) more += (a[k] == a[i]) - (b[k] == a[i]);
        if (more != 0) return false;
    }
    return true;
}

static inline struct flip flip_of_node(struct plan *a, const struct node *of_a, struct plan *b, const struct node *of_b)
{
    double *x = flip_values(a, of_a, 0), *y = flip_values(b, of_b, 0),
           *margin = of_a->op == &op_topk ? flip_values(a, of_a, 1) : NULL;
    int64_t tokens = of_a->shape.dim[0], k = of_a->shape.dim[1];
    struct flip f = { .path = of_a->path };
    for (int64_t t = 0; t < tokens; t++) {
        if (flip_same_set(x + t * k, y + t * k, k)) continue;
        f.tokens++;
        if (margin && !(margin[t] <= f.margin)) f.margin = margin[t];
    }
    free(x);
    free(y);
    free(margin);
    return f;
}

/* Of the last micro-batch of two plans of equal graphs; margins are those of the first. No tokens: all chose alike. */
static inline struct flip flip_find(struct plan *a, const struct graph *of_a, struct plan *b, const struct graph *of_b)
{
    struct flip f = { 0 };
    for (int i = 0; i < of_a->n && f.tokens == 0; i++)
        if (flip_is_choice(of_a->node[i])) f = flip_of_node(a, of_a->node[i], b, of_b->node[i]);
    return f;
}

#endif
