/* SwiGLU: (silu(u Wg) * (u Wu)) Wd. Shazeer 2020. */
#include "model/module.h"

struct conf { int d_ff; };
static const struct param params[] = {
    INT(struct conf, d_ff, 256, 1, 1 << 20, "", "hidden width"),
    { 0 }
};

static struct node *build(struct build *b, const void *conf, struct node *u)
{
    const struct conf *c = conf;
    struct node *gate = linear(b, "gate", ROLE_FFN_GATE, u, c->d_ff),
                *up = linear(b, "up", ROLE_FFN_UP, u, c->d_ff);    /* [T,F] */
    return linear(b, "down", ROLE_FFN_DOWN, swiglu(b->graph, gate, up), b->width);
}

const struct module ffn_swiglu = {
    .slot = SLOT_FFN, .name = "swiglu", .about = "dense gated feed-forward",
    .conf_size = sizeof(struct conf), .params = params, .ffn = build,
};
