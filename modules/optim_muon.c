/* Muon: the momentum of a matrix, orthogonalised by Newton-Schulz steps, sets the step; every expert of a stack is its
   own matrix. Jordan 2024; Moonlight (arXiv 2502.16982). Embeddings, tables, the head and gains take AdamW.
       w -= lr (scale * orthogonal(momentum) + decay w)
   scale: rms     0.2 sqrt(max(rows, columns))    the size of an AdamW step, so that its rate can be kept
          spectral sqrt(rows / columns)           jordan  sqrt(max(1, rows / columns)) */
#include "model/module.h"
#include <math.h>

enum scale { RMS, SPECTRAL, JORDAN };
struct conf {
    double lr, momentum;
    int nesterov;
    double decay;
    int decay_gains, decay_tables, scale, steps;
    double beta1, beta2, eps;
};
static const struct param params[] = {
    REAL(struct conf, lr, 1e-3, 0, 10, "", "peak learning rate, of both kinds of weights"),
    REAL(struct conf, momentum, 0.95, 0, 0.9999, "", "decay of the momentum"),
    BOOL(struct conf, nesterov, true, "look one step ahead"),
    REAL(struct conf, decay, 0.1, 0, 10, "", "weight decay"),
    BOOL(struct conf, decay_gains, false, "the gains of norms decay too: to 0, zero-centred ones to 1"),
    BOOL(struct conf, decay_tables, false, "the vectors of tokens and the rows of tables decay too"),
    CHOICE(struct conf, scale, RMS, "rms spectral jordan", "length of the step by the matrix's shape"),
    INT(struct conf, steps, 5, 1, 20, "", "Newton-Schulz steps"),
    REAL(struct conf, beta1, 0.9, 0, 0.9999, "", "AdamW: decay of the first moment"),
    REAL(struct conf, beta2, 0.95, 0, 0.99999, "", "AdamW: decay of the second moment"),
    REAL(struct conf, eps, 1e-8, 1e-16, 1, "", "AdamW: added to the root"),
    { 0 }
};

static double step_scale(enum scale kind, struct shape s)
{
    double rows = (double)s.dim[s.rank - 2], columns = (double)s.dim[s.rank - 1];
    if (kind == RMS) return 0.2 * sqrt(fmax(rows, columns));
    return sqrt(kind == SPECTRAL ? rows / columns : fmax(1, rows / columns));
}

static struct node *build(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u)
{
    const struct conf *c = self.conf;
    double decay = build_decay(w, c->decay, c->decay_gains, c->decay_tables);
    struct node *m = build_moment(b, "m", w);
    if (!role_rule[w->leaf->role].outside) {
        struct muon_attr attr = { c->momentum, u.rate * decay, u.rate * step_scale(c->scale, w->shape), c->nesterov,
                                  c->steps };
        return muon(b->graph, w, grad, m, u.lr, u.clip, attr);
    }
    struct adamw_attr attr = { c->beta1, c->beta2, c->eps, decay, u.rate };
    return adamw(b->graph, w, grad, m, build_moment(b, "v", w), u.lr, u.step, u.clip, attr);
}

static void traits(struct pick self, struct traits *t) { t->lr = ((const struct conf *)self.conf)->lr; }

const struct module optim_muon = {
    .slot = SLOT_OPTIM, .name = "muon", .about = "orthogonalised momentum for hidden matrices",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .optim = build,
};
