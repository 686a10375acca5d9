/* The derivative of a tiny model's objective along one random direction through all weights: by backward, and by
   central differences. Integers (choices of experts) must stand still meanwhile. The error is relative to the
   derivative, or to the gradient's length where that is more: what the derivative is in most directions. */
#ifndef SLUICE_TINY_GRADIENT_H
#define SLUICE_TINY_GRADIENT_H

#include "graph/ops.h"
#include "tiny.h"

struct derivative { double exact, numeric, error; bool still; };

static inline double objective(struct tiny *t)
{
    double value;
    tiny_forward(t);
    tiny_metric(t, "objective", -1, &value);
    return value;
}

/* Everything that computes to integers, as one hash. */
static inline struct hash integers_of(struct tiny *t)
{
    struct hash h = hash_bytes("", 0);
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (n->op->kind != OP_COMPUTE || n->dtype != DTYPE_I32 || n->region != REGION_MICRO) continue;
        double *value = tiny_read(t, n);
        h = hash_more(h, value, (size_t)shape_count(n->shape) * sizeof *value);
        free(value);
    }
    return h;
}

/* The same direction each time: N(0,1) in every weight. */
static inline double direction(const struct leaf *l, int64_t i)
{
    return key_normal((struct key){ 7, PURPOSE_TEST, hash_name(l->path), 0 }, (uint64_t)i);
}

static inline void nudge(struct tiny *t, double by)
{
    for (int i = 0; i < t->leaves->n; i++) {
        const struct leaf *l = t->leaves->leaf[i];
        if (!leaf_trains(l)) continue;
        real *w = state_data(t->state, l);
        for (int64_t k = 0; k < shape_count(l->decl.shape); k++) w[k] += (real)(by * direction(l, k));
    }
}

/* Of the last forward pass, with the length of the gradient. */
static inline double slope(struct tiny *t, double *length)
{
    double sum = 0, squares = 0;
    plan_backward(t->plan, 0);
    for (int i = 0; i < t->graph->n; i++) {
        const struct node *n = t->graph->node[i];
        if (!n->leaf || !leaf_trains(n->leaf) || n->region != REGION_MICRO) continue;
        double *g = xcalloc((size_t)shape_count(n->shape), sizeof *g);
        if (!plan_read_grad(t->plan, n, g)) fail_msg("no gradient reaches %s", n->leaf->path);
        for (int64_t k = 0; k < shape_count(n->shape); k++) {
            sum += g[k] * direction(n->leaf, k);
            squares += g[k] * g[k];
        }
        free(g);
    }
    *length = sqrt(squares);
    return sum;
}

/* (f(h) - f(-h)) / 2h; `still` goes where an integer moves. */
static inline double difference(struct tiny *t, double h, struct hash before, bool *still)
{
    double side[2];
    for (int i = 0; i < 2; i++) {
        nudge(t, i ? -2 * h : h);
        side[i] = objective(t);
        *still = *still && hash_equal(before, integers_of(t));
    }
    nudge(t, h);
    return (side[0] - side[1]) / (2 * h);
}

static inline void set_error(struct derivative *d, double length)
{
    d->error = fabs(d->exact - d->numeric) / fmax(length, fmax(fabs(d->exact), fabs(d->numeric)));
}

/* Of a started model. A second document ends the second sequence. Where the objective is so curved that h shows it, as
   where a short vector is made one of length 1, its square is extrapolated away (Richardson). */
static inline struct derivative derivative_of(struct tiny *t)
{
    const double h = 2e-7;
    struct derivative d = { .still = true };
    double length;
    t->start[2 * t->seq - 1] = t->start[2 * t->seq - 2] = t->seq - 2;
    t->weight[2 * t->seq - 3] = 0;
    objective(t);
    d.exact = slope(t, &length);
    struct hash before = integers_of(t);
    d.numeric = difference(t, h, before, &d.still);
    set_error(&d, length);
    if (d.error < 1e-7) return d;
    d.numeric = (4 * difference(t, h / 2, before, &d.still) - d.numeric) / 3;
    set_error(&d, length);
    return d;
}

/* Whether a gradient that arrives at a node meets op detach on its way, or passes straight through a rounding; `seen`,
   by id, holds what was asked. */
static inline bool meets_detach(const struct node *part, bool *seen)
{
    struct root r = node_root(part);
    const struct node *n = r.node;
    bool found = n->op == &op_fp8_matmul;
    for (; part != n; part = part->in[0]) found |= part->op == &op_detach;
    if (!found && (seen[n->id] || has_bit(n->op->no_grad_out, r.output))) return false;
    seen[n->id] = true;
    for (int i = 0; i < n->n_in && n->op->gradient && !found; i++)
        found = n->in[i] && n->in[i]->dtype != DTYPE_I32 && !has_bit(n->op->no_grad, i) && meets_detach(n->in[i], seen);
    return found;
}

/* A module may stop a gradient on purpose, or have one of what it rounds: differences see what it does not. */
static inline bool stops_gradient(const struct graph *g)
{
    bool *seen = xcalloc((size_t)g->n, sizeof *seen), stops = false;
    for (int i = 0; i < g->n_losses && !stops; i++) stops = meets_detach(g->loss[i].value, seen);
    free(seen);
    return stops;
}

/* Of a built model, from the first seed whose choices a nudge does not flip, for that says nothing of the gradient.
   The error is 0 where a gradient is stopped. False: it is wrong, and why. */
static inline bool gradient_holds(struct tiny *t, double *error, char why[256])
{
    struct derivative d = { 0 };
    for (uint64_t seed = 1; seed <= 8 && !d.still; seed++) {
        inputs_free(t->in);
        plan_free(t->plan);
        state_free(t->state);
        tiny_start(t, seed);
        d = derivative_of(t);
    }
    *error = stops_gradient(t->graph) ? 0 : d.error;
    if (!d.still) snprintf(why, 256, "the nudge flips a choice whatever the seed");
    else snprintf(why, 256, "derivative %.12g, by differences %.12g, relative error %.2g", d.exact, d.numeric, d.error);
    return d.still && *error < 1e-6;
}

static inline void check_gradient(struct tiny *t, const char *name)
{
    double error;
    char why[256];
    if (!gradient_holds(t, &error, why)) fail_msg("%s: %s", name, why);
}

#endif
