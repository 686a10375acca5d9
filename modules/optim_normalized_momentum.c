/* Normalised momentum: m = momentum m + g, w -= lr (scale m / |m| + decay w), of every weight with a Frobenius norm of
   its own, of a stack of experts with one of each. It is Muon without a step: the direction stays the gradient's, and
   its length alone is fixed. scale: none 1; rms 0.2 sqrt(values), the size of an AdamW step. */
#include "model/module.h"
#include <math.h>

enum scale { NONE, RMS };
struct conf { struct pace pace; double momentum; int nesterov, scale, state; };
static const struct param params[] = {
    PACE(struct conf, pace, 1e-2, 0.1),
    REAL(struct conf, momentum, 0.95, 0, 0.9999, "", "decay of the momentum"),
    BOOL(struct conf, nesterov, false, "look one step ahead"),
    CHOICE(struct conf, scale, NONE, "none rms", "length of the step by how many values a matrix has"),
    STATE(struct conf, state, ""),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    build_check_state(c->state, "momentum", c->momentum, path, problems);
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    struct stack s = shape_stack(w->shape);
    struct node *m = build_moment_as(b, "m", w, c->state, w->leaf->stack);
    struct muon_attr attr = {
        .momentum = c->momentum, .decay = u.rate * build_decay(&c->pace, w, u),
        .scale = u.rate * (c->scale == RMS ? 0.2 * sqrt((double)(s.rows * s.columns)) : 1), .nesterov = c->nesterov
    };
    return muon(b->graph, w, grad, m, u.lr, u.clip, NULL, NULL, attr);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->paced = true; }

const struct module optim_normalized_momentum = {
    .slot = SLOT_OPTIM, .name = "normalized_momentum", .about = "momentum of which the direction alone counts",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
