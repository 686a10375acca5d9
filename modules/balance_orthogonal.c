/* Orthogonal router: weight * |Y Y^T - 1|^2 / (E (E - 1)), Y the router's rows with length 1: the mean squared cosine
   of two different rows. With more experts than dimensions it cannot be 0. It is of weights alone, and counts once for
   a step however its batch is cut. ERNIE 4.5 (2025). */
#include "model/module.h"

struct conf { double weight; };
static const struct param params[] = {
    REAL(struct conf, weight, 0.001, 0, 10, "", "weight of the loss, a mean over pairs of experts"),
    { 0 }
};

static void build(struct build *b, struct pick self, const struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *router = build_made(b, "router");
    if (b->mode != MODE_TRAIN || !router || r->experts == 1) return;
    double experts = r->experts;
    struct node *rows = l2norm(g, router, 1e-20),
                *cosine = matmul(g, rows, rows, DTYPE_REAL),                                    /* [E,E] */
                *pairs = offset(g, dot(g, cosine, cosine), -experts);    /* the diagonal is 1 */
    build_whole_loss(b, "orthogonal", scale(g, pairs, 1 / (experts * (experts - 1))), c->weight);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->of_scores = true; }

const struct module balance_orthogonal = {
    .slot = SLOT_BALANCE, .name = "orthogonal", .about = "loss on router rows that are alike",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .balance = build,
};
