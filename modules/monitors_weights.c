/* How weights stand and move, in each step: of a weight "layers.3.attention.q.weight" in layer 3 of
       weight_rms.attention.q       sqrt(mean of w^2), after the step
       weight_max.attention.q       the largest |w|, after the step
       grad_rms.attention.q         sqrt(mean of g^2) of its gradient, before clipping
       grad_zeros.attention.q       share of its gradient that is 0: of units, rows, experts that nothing reaches
       update_ratio.attention.q     |change| / |w|, a few thousandths where training is well (0.001: Karpathy)
       update_cosine.attention.q    cosine of change and w: below 0 where decay pulls it back, above where it grows
   and of stacked experts, by expert, expert_grad_rms.ffn.experts.up: 0 where one got no token. */
#include "model/module.h"

struct conf { const char *match; };
static const struct param params[] = {
    TEXT_OF(struct conf, match, "*",
            "which, by their names within a layer: * any text, ? any letter, [abc] one of these"),
    { 0 }
};

static void metric(struct build *b, const char *what, const char *name, struct node *value, const char *about)
{
    build_metric(b, arena_text(b->arena, "%s.%s", what, name), value, "", BETTER_NONE, about);
}

static void update(struct build *b, struct pick self, const char *name, struct node *w, struct node *grad,
                   struct node *change)
{
    struct graph *g = b->graph;
    struct node *most = max_all(g, square(g, w)), *reached = outside(g, grad, 0, 0),
                *moved = update_ratio(g, 1, &change);
    (void)self;
    metric(b, "weight_rms", name, rms(g, w), "root mean square of the weight after the step");
    metric(b, "weight_max", name, root(g, most), "its largest value after the step, without its sign");
    metric(b, "grad_rms", name, rms(g, grad), "root mean square of its gradient before clipping");
    metric(b, "grad_zeros", name, offset(g, scale(g, reached, -1), 1), "share of its gradient that is 0");
    metric(b, "update_ratio", name, moved, "norm of its change over its norm");
    metric(b, "update_cosine", name, graph_result(g, moved, 1), "cosine of its change and what it was");
    if (w->shape.rank != 3) return;
    struct shape stack = SHAPE(w->shape.dim[0], w->shape.dim[1] * w->shape.dim[2]);
    metric(b, "expert_grad_rms", name, row_rms(g, view(g, grad, stack)), "the gradient's root mean square by expert");
}

static void traits(struct pick self, struct traits *t) { t->watched = ((const struct conf *)self.conf)->match; }

const struct module monitors_weights = {
    .slot = SLOT_MONITORS, .name = "weights", .about = "size, gradient and change of each weight",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .watch_update = update,
};
