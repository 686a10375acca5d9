/* Cosine router: <W u, e_i> / (|W u| |e_i| tau): logits are bounded and of few dimensions, so that tokens do not all
   turn to the experts' vectors. tau is learned, as the exponential of a weight, and stays within 0.01 and 100. Chi 2022
   (X-MoE, W with half as many rows as there are experts); Shen 2023 (ModuleFormer's gmm, tau from 1). */
#include "model/module.h"

struct conf { int width; double temperature; };
static const struct param params[] = {
    INT(struct conf, width, 0, 0, 65536, "", "dimensions in which angles are taken; 0: half the number of experts"),
    REAL(struct conf, temperature, 0.3, 0.01, 100, "", "tau at first"),
    { 0 }
};
static const double tiny = 1e-12;                           /* keeps a vector of zeros from dividing by zero */

static struct node *build(struct build *b, struct pick self, struct node *u, int experts)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct shape shape = SHAPE(experts, c->width ? c->width : (experts + 1) / 2);               /* [E,P] */
    struct init init = build_init_of(b, ROLE_ROUTER, READS_SAME, shape);
    struct node *centre = build_reads(build_weight(b, "router.weight", ROLE_ROUTER, shape, init), READS_SAME),
                *seen = linear(b, "router.projection", ROLE_ROUTER, u, shape.dim[1]),           /* [T,P] */
                *cosine = matmul(g, l2norm(g, seen, tiny), l2norm(g, centre, tiny), DTYPE_REAL);    /* [T,E] */
    struct node *power = build_weight(b, "router.sharpness", ROLE_SCALAR, SHAPE(1),
                                      init_constant(-log(c->temperature)));
    return mul_scalar(g, cosine, exp_of(g, clamp(g, power, -log(100), log(100))));
}

const struct module logits_cosine = {
    .slot = SLOT_LOGITS, .name = "cosine", .about = "cosine of token and expert over a learned temperature",
    .conf_size = sizeof(struct conf), .params = params, .logits = build,
};
