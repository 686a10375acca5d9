/* LatentMoE: routed experts live in a narrower width L, between two projections that all of them share:
       (sum over the K chosen experts of gate * f_i(u W_down)) W_up
   so that each expert costs L / D as much, and with the same work there are so many more to choose from. The router and
   shared experts read u. Nemotron-3 Super 2025; Kimi K3, with a norm before W_up, which makes a factor common to all
   gates, as router.scale, say nothing. */
#include "model/module.h"

struct conf { int width, norm; };
static const struct param params[] = {
    INT(struct conf, width, 64, 1, 65536, "", "of what routed experts read and write"),
    BOOL(struct conf, norm, false, "norm on the sum of the experts"),
    { 0 }
};

static struct node *in(struct build *b, struct pick self, struct node *u)
{
    return linear(b, "latent_down", ROLE_LATENT_DOWN, u, ((const struct conf *)self.conf)->width);     /* [T,L] */
}

static struct node *out(struct build *b, struct pick self, struct node *routed)
{
    if (((const struct conf *)self.conf)->norm) routed = build_norm(b, "latent_norm", routed);
    return linear(b, "latent_up", ROLE_LATENT_UP, routed, b->width);                            /* [T,D] */
}

const struct module latent_projected = {
    .slot = SLOT_LATENT, .name = "projected", .about = "experts of a width of their own (LatentMoE)",
    .conf_size = sizeof(struct conf), .params = params, .latent_in = in, .latent_out = out,
};
