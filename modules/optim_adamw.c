/* AdamW with decoupled decay: w -= lr (m^ / (sqrt v^ + eps) + decay w). Loshchilov 2017. Which weights decay goes by
   their role. nesterov: NAdam (Dozat 2016). sphere: hidden matrices keep the Frobenius norm with which they began, and
   lr is the angle by which they turn (hyperball; AdamH, Wen 2025): about sqrt(lr decay) of what AdamW had. amsgrad:
   Reddi 2018. cautious_step: C-AdamW (Liang 2024, arXiv 2411.16085); cautious is of the decay alone. */
#include "model/module.h"

struct conf {
    struct pace pace;
    struct adam adam;
    int nesterov, eps_inside, amsgrad, cautious, cautious_step, lazy, sphere;
};
static const struct param params[] = {
    PACE(struct conf, pace, 1e-3, 0.1),
    ADAM(struct conf, adam, ""),
    STATE(struct conf, adam.state, ""),
    BOOL(struct conf, nesterov, false, "look one step ahead"),
    BOOL(struct conf, eps_inside, false, "eps is added to the second moment, under the root"),
    BOOL(struct conf, amsgrad, false, "steps go by the largest second moment so far"),
    BOOL(struct conf, cautious, false, "weights decay only where that goes the way of the step"),
    BOOL(struct conf, cautious_step, false,
         "what would go against its gradient rests, and the others of a matrix go as much further (C-AdamW)"),
    BOOL(struct conf, lazy, false, "where a gradient is 0, as of an expert without tokens, nothing moves or decays"),
    BOOL(struct conf, sphere, false,
         "hidden matrices keep their norm, and do not decay, but for those that begin at zero"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    build_check_adam(&c->adam, path, problems);
    if (c->lazy && c->cautious_step)
        module_problem(problems, path, "cautious_step", "true: where a gradient is 0 nothing rests with its decay, as "
                                                        "lazy asks; one of them must be false");
    if (c->lazy && c->sphere)
        module_problem(problems, path, "sphere", "true: a matrix turns as a whole, where lazy asks values to rest; one "
                                                 "of them must be false");
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    int state = c->adam.state;
    struct node *m = build_moment_as(b, "m", w, state, 1), *v = build_moment_as(b, "v", w, state, 1),
                *largest = c->amsgrad ? build_moment_as(b, "largest", w, state, 1) : NULL,
                *radius = c->sphere && build_is_hidden(w) ? build_radius(b, w, w->leaf->stack) : NULL;
    struct adamw_attr attr = {
        .beta1 = c->adam.beta1, .beta2 = c->adam.beta2, .eps = c->adam.eps * u.eps,
        .decay = radius ? 0 : build_decay(&c->pace, w, u), .rate = u.rate, .nesterov = c->nesterov,
        .inside = c->eps_inside, .cautious = c->cautious, .lazy = c->lazy, .masked = c->cautious_step,
        .along = u.along
    };
    return adamw(b->graph, w, grad, m, v, u.lr, u.step, u.clip, radius, largest, attr);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->paced = true;
    t->elementwise = !c->sphere && !c->cautious_step;
    if (c->sphere) t->steps_if = "adamw without sphere";
    else t->stepping = STEPPING_EVEN;
}

const struct module optim_adamw = {
    .slot = SLOT_OPTIM, .name = "adamw", .about = "Adam with decoupled weight decay",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
