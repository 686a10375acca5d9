/* Dion: the momentum of a matrix [N,K], orthogonalised in its `rank` min(N,K) strongest directions, which are followed
   from step to step; what a step leaves out stays in the momentum. Every expert of a stack is its own matrix. A step is
   as sqrt(N / K), the spectral scale of muon. Memory is N K and rank K values more. Embeddings, tables, the head and
   gains take AdamW. Ahn 2025 (arXiv 2504.05295). */
#include "model/module.h"
#include <math.h>

struct conf { struct pace pace; double momentum, rank; struct adam adam; };
static const struct param params[] = {
    PACE(struct conf, pace, 0.01, 0.01),
    REAL(struct conf, momentum, 0.95, 0, 0.9999, "", "what stays of what a step takes of the momentum"),
    REAL(struct conf, rank, 0.25, 1e-6, 1, "", "of a step, as a share of the smaller side, one at least"),
    ADAM(struct conf, adam, "AdamW: "),
    STATE(struct conf, adam.state, "AdamW: "),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    build_check_adam(&((const struct conf *)self.conf)->adam, path, problems);
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    if (!build_is_hidden(w)) return build_adamw(b, &c->pace, &c->adam, w, grad, u);
    struct stack s = shape_stack(w->shape);
    double side = (double)(s.rows < s.columns ? s.rows : s.columns);
    struct dion_attr attr = { c->momentum, u.rate * build_decay(&c->pace, w, u),
                              u.rate * sqrt((double)s.rows / (double)s.columns) };
    struct node *q = build_drawn(b, "q", w, SHAPE(w->leaf->stack, (int64_t)fmax(1, round(c->rank * side)), s.columns));
    return dion(b->graph, w, grad, build_moment(b, "m", w), q, u.lr, u.clip, attr);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->paced = true; }

const struct module optim_dion = {
    .slot = SLOT_OPTIM, .name = "dion", .about = "momentum orthogonalised in its strongest directions",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .optim = build,
};
