/* Gradient descent: m = momentum m + g, w -= lr (m + decay w); nesterov: g + momentum m in place of m. coupled: decay
   is a part of the gradient, as an L2 term of the loss has it, and of the momentum. Without momentum it has no memory.
   Polyak 1964; Sutskever 2013. */
#include "model/module.h"

struct conf { struct pace pace; double momentum; int nesterov, coupled, state; };
static const struct param params[] = {
    PACE(struct conf, pace, 0.1, 1e-4),
    REAL(struct conf, momentum, 0.9, 0, 0.9999, "", "decay of the momentum; 0: none"),
    BOOL(struct conf, nesterov, false, "look one step ahead"),
    BOOL(struct conf, coupled, false, "decay is a part of the gradient"),
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
    struct sgd_attr attr = { c->momentum, build_decay(&c->pace, w, u), u.rate, c->nesterov, c->coupled };
    struct node *m = c->momentum > 0 ? build_moment_as(b, "m", w, c->state, 1) : NULL;
    return sgd(b->graph, w, grad, u.lr, u.clip, m, attr);
}

static void traits(struct pick self, struct traits *t)
{
    (void)self;
    t->paced = t->elementwise = true;
    t->stepping = STEPPING_GRADIENT;
}

const struct module optim_sgd = {
    .slot = SLOT_OPTIM, .name = "sgd", .about = "gradient descent with momentum",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
