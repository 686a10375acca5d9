/* Lion: w -= lr (sign(b1 m + (1-b1) g) + decay w), m = b2 m + (1-b2) g. Every value moves by lr, rows of tables and
   experts that were not used too, while their momentum lasts. One moment; against AdamW's, lr is 3 to 10 times smaller
   and decay as much larger. Chen 2023 (arXiv 2302.06675). */
#include "model/module.h"

struct conf { struct pace pace; double beta1, beta2; int state; };
static const struct param params[] = {
    PACE(struct conf, pace, 2e-4, 0.5),
    REAL(struct conf, beta1, 0.9, 0, 0.9999, "", "share of the momentum in what the step goes by"),
    REAL(struct conf, beta2, 0.99, 0, 0.99999, "", "decay of the momentum"),
    STATE(struct conf, state, ""),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    build_check_state(c->state, "beta2", c->beta2, path, problems);
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    struct lion_attr attr = { c->beta1, c->beta2, build_decay(&c->pace, w, u), u.rate };
    return lion(b->graph, w, grad, build_moment_as(b, "m", w, c->state, 1), u.lr, u.clip, attr);
}

static void traits(struct pick self, struct traits *t)
{
    (void)self;
    t->paced = t->elementwise = true;
    t->stepping = STEPPING_EVEN;
}

const struct module optim_lion = {
    .slot = SLOT_OPTIM, .name = "lion", .about = "the sign of the momentum",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
