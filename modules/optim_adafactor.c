/* Adafactor: the second moment of a matrix is made of that of its rows and of its columns, so that a matrix [N,K] costs
   N + K values in place of N K; of a stack of experts each by itself. Its decay goes by the step, 1 - t^-power; steps
   are no larger than `most` in root mean square, and relative ones in proportion to that of the weight. Shazeer and
   Stern 2018 (arXiv 1804.04235); T5; ST-MoE, where a `most` of 0.1 is stable and worse. */
#include "model/module.h"

struct conf { struct pace pace; double power, most, least, tiny, beta1; int relative; };
static const struct param params[] = {
    PACE(struct conf, pace, 1e-2, 0.01),
    REAL(struct conf, power, 0.8, 0.1, 2, "", "of a step's number, which moments decay by"),
    REAL(struct conf, most, 1, 1e-3, 1e3, "", "the largest root mean square of a step"),
    BOOL(struct conf, relative, true, "steps are in proportion to the size of the weight"),
    REAL(struct conf, least, 1e-3, 0, 1, "", "the smallest such size"),
    REAL(struct conf, tiny, 1e-30, 1e-30, 1e-6, "", "added to squares of gradients"),
    REAL(struct conf, beta1, 0, 0, 0.99, "", "decay of a momentum of steps; 0: there is none"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    struct stack s = shape_stack(w->shape);
    bool matrix = w->shape.rank > 1;
    struct adafactor_attr attr = {
        .power = c->power, .tiny = c->tiny, .most = c->most, .least = c->least, .beta1 = c->beta1,
        .decay = build_decay(&c->pace, w, u), .rate = u.rate, .relative = c->relative
    };
    return adafactor(b->graph, w, grad, u.lr, u.step, u.clip,
                     matrix ? build_memory_of(b, "row", w, SHAPE(s.matrices * s.rows)) : NULL,
                     matrix ? build_memory_of(b, "col", w, SHAPE(s.matrices * s.columns)) : NULL,
                     matrix ? NULL : build_moment(b, "v", w), c->beta1 > 0 ? build_moment(b, "m", w) : NULL, attr);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->paced = true; }

const struct module optim_adafactor = {
    .slot = SLOT_OPTIM, .name = "adafactor", .about = "second moments of rows and columns in place of values",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .optim = build,
};
