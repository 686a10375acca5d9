/* How weights stand and move, in each step: of a weight "layers.3.attention.q.weight" in layer 3 of
       weight_rms.attention.q       sqrt(mean of w^2), after the step
       grad_rms.attention.q         the same of its gradient, before clipping
       update_ratio.attention.q     |change| / |w|, a few thousandths where training is well (0.001: Karpathy)
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
    (void)self;
    metric(b, "weight_rms", name, rms(g, w), "root mean square of the weight after the step");
    metric(b, "grad_rms", name, rms(g, grad), "root mean square of its gradient before clipping");
    metric(b, "update_ratio", name, update_ratio(g, 1, &change), "norm of its change over its norm");
    if (w->shape.rank != 3) return;
    struct shape stack = SHAPE(w->shape.dim[0], w->shape.dim[1] * w->shape.dim[2]);
    metric(b, "expert_grad_rms", name, row_rms(g, view(g, grad, stack)), "the gradient's root mean square by expert");
}

static void traits(struct pick self, struct traits *t) { t->watched = ((const struct conf *)self.conf)->match; }

const struct module monitors_weights = {
    .slot = SLOT_MONITORS, .name = "weights", .about = "size, gradient and change of each weight",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .watch_update = update,
};
