/* Schedule-free AdamW: the mean of where a step leads stands in for a decay of the rate, and evaluation, export and
   samples read that mean; gradients are taken between it and the steps. The schedule should be constant with a warm-up.
   Buffers, as the bias of a router, are as training has them. Defazio 2024 (arXiv 2405.15682). */
#include "model/module.h"

struct conf { struct pace pace; struct adam adam; double power; };
static const struct param params[] = {
    PACE(struct conf, pace, 2.5e-3, 0.1),
    ADAM(struct conf, adam, ""),
    REAL(struct conf, power, 0, 0, 8, "", "of a step's number in its share of the mean"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct schedule_free_attr attr = { c->adam.beta1, c->adam.beta2, c->adam.eps * u.eps, build_decay(&c->pace, w, u),
                                       u.rate, c->power };
    return schedule_free(g, w, grad, graph_average_of(g, w->leaf), build_moment(b, "lead", w), build_moment(b, "v", w),
                         build_memory_of(b, "mean", w, SHAPE(3)), u.lr, u.step, u.clip, attr);
}

static void traits(struct pick self, struct traits *t)
{
    (void)self;
    t->averages = t->elementwise = true;
    t->stepping = STEPPING_EVEN;
}

const struct module optim_schedule_free = {
    .slot = SLOT_OPTIM, .name = "schedule_free", .about = "AdamW with a mean of the weights in place of a schedule",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .optim = build,
};
