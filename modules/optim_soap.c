/* SOAP: Adam in the eigenbasis of Shampoo's factors, the means of G G^T and of G^T G of a matrix [N,K]; every expert of
   a stack is its own. The first step finds the bases and moves nothing. Memory is 2 N K and 2 (N N + K K) values: sides
   longer than `longest` are not rotated. Embeddings, tables, the head and gains take AdamW. Vyas 2024 (arXiv
   2409.11321). */
#include "model/module.h"

struct conf { struct pace pace; struct adam adam; double factor_beta; int every, longest; };
static const struct param params[] = {
    PACE(struct conf, pace, 3e-3, 0.01),
    REAL_AS("beta1", struct conf, adam.beta1, 0.95, 0, 0.9999, "", "decay of the first moment"),
    REAL_AS("beta2", struct conf, adam.beta2, 0.95, 0, 0.99999, "", "decay of the second moment"),
    REAL_AS("eps", struct conf, adam.eps, 1e-8, 1e-16, 1, "", "added to the root"),
    STATE(struct conf, adam.state, "AdamW: "),
    REAL(struct conf, factor_beta, 0.95, 0, 0.9999, "", "decay of the factors"),
    INT(struct conf, every, 10, 1, 1 << 20, "step", "between power steps of the bases"),
    INT(struct conf, longest, 2048, 1, 16384, "", "of the sides that are rotated"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    build_check_adam(&((const struct conf *)self.conf)->adam, path, problems);
}

static struct node *factor(struct build *b, const struct conf *c, const char *which, const struct node *w, int64_t side)
{
    return side > c->longest ? NULL : build_memory_of(b, which, w, SHAPE(w->leaf->stack, side, side));
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    if (!build_is_hidden(w)) return build_adamw(b, &c->pace, &c->adam, w, grad, u);
    struct stack s = shape_stack(w->shape);
    struct soap_attr attr = { c->adam.beta1, c->adam.beta2, c->factor_beta, c->adam.eps * u.eps,
                              build_decay(&c->pace, w, u), u.rate, c->every };
    struct soap x = {
        .w = w, .grad = grad, .m = build_moment(b, "m", w), .v = build_moment(b, "v", w), .lr = u.lr, .clip = u.clip,
        .taken = build_memory_of(b, "taken", w, SHAPE(1)),
        .left = factor(b, c, "left", w, s.rows), .left_basis = factor(b, c, "left_basis", w, s.rows),
        .right = factor(b, c, "right", w, s.columns), .right_basis = factor(b, c, "right_basis", w, s.columns)
    };
    return soap(b->graph, x, attr);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->paced = true; }

const struct module optim_soap = {
    .slot = SLOT_OPTIM, .name = "soap", .about = "Adam in the eigenbasis of Shampoo's factors",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
