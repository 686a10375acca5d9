/* Per-layer embeddings: behind each block a narrow gate, multiplied by what the layer looks up for the token itself:
       p = (sqrt(P) E_l[id] + norm(x_0 W_p)) / sqrt 2,   y = x + norm((gelu(x W_g) p) W_o)
   x_0 is what `embed` gave. The tables are large and of each a token reads one row, so they may lie in slow memory.
   Gemma 3n, in one stream; here each layer has its own gain for x_0 W_p. */
#include "model/module.h"
#include <math.h>

struct conf { int width; double eps; };
static const struct param params[] = {
    INT(struct conf, width, 16, 1, 8192, "", "width of a row, and of the gate"),
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square of x_0 W_p"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    for (int i = 0; i < model->layers; i++) {
        int streams = module_traits(model->residual.pick[i]).streams;
        if (model->ple.pick[i].conf != self.conf || streams == 0) continue;
        module_problem(problems, path, "width", "layer %d keeps %d residual streams: the gate reads one", i, streams);
        return;
    }
}

static struct node *looked_up(struct build *b, const struct conf *c)
{
    struct graph *g = b->graph;
    struct shape size = SHAPE(b->vocab, c->width);
    struct node *table = build_weight(b, "table", ROLE_TABLE, size, build_init(b, ROLE_TABLE, size));
    struct node *row = scale(g, embed(g, table, build_ids(b)), sqrt(c->width));                 /* [T,P] */
    struct node *context = linear(b, "context", ROLE_MIX, build_rows(b, build_kept(b, -1, "embed.token")), c->width);
    struct node *gain = build_weight(b, "context.gain", ROLE_GAIN, SHAPE(c->width),
                                     init_constant(1));
    return scale(g, add(g, row, rmsnorm(g, context, gain, c->eps, false)), sqrt(0.5));
}

static struct node *build(struct build *b, struct pick self, struct node *x)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *gate = gelu(g, linear(b, "gate", ROLE_FFN_GATE, x, c->width));                 /* [T,P] */
    struct node *y = linear(b, "out", ROLE_FFN_DOWN, mul(g, gate, looked_up(b, c)), b->width);
    return build_norm(b, "norm", y);
}

const struct module ple_gated = {
    .slot = SLOT_PLE, .name = "gated", .about = "a token's own vector in each layer, behind a gate (Gemma 3n)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .ple = build,
};
