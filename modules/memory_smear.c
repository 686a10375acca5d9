/* Smear: the stream gets factor * sigmoid(x W) x', x' the token's predecessor as `embed` gave it, x the first channels
   of its own. Bigrams without a table. nanochat, in the first layer; factor is learned and begins at 0. Nothing comes
   from before the document. */
#include "model/module.h"

struct conf { int channels; double factor; };
static const struct param params[] = {
    INT(struct conf, channels, 24, 1, 65536, "", "values of x that the gate reads"),
    REAL(struct conf, factor, 0, -10, 10, "", "initial factor"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    if (c->channels > model->d_model)
        module_problem(problems, path, "channels", "%d: x has d_model = %d", c->channels, model->d_model);
}

/* Of each token the one before it: a convolution of two taps, 1 and 0. */
static struct node *before(struct build *b, struct node *x)
{
    struct graph *g = b->graph;
    struct node *tap[] = { build_ones(b, SHAPE(b->width, 1)), scale(g, build_ones(b, SHAPE(b->width, 1)), 0) };
    return conv1d(g, x, concat(g, 2, tap), b->start, b->pos, build_state(b, "before", SHAPE(b->width), 1), 1,
                  false);
}

static struct node *build(struct build *b, struct pick self, const struct stream *s)
{
    (void)s;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *x = build_rows(b, build_kept(b, -1, "embed.token"));                           /* [T,D] */
    struct node *weight = build_reads(build_weight(b, "gate.weight", ROLE_GATE, SHAPE(1, c->channels),
                                                   init_uniform(0, 0.02)), READS_SAME),
                *some = c->channels < b->width ? columns(g, x, 0, c->channels) : x,
                *gate = sigmoid(g, matmul(g, some, weight, DTYPE_REAL));                        /* [T,1] */
    return mul_scalar(g, build_gated(b, before(b, x), gate),
                      build_weight(b, "factor", ROLE_SCALAR, SHAPE(1), init_constant(c->factor)));
}

const struct module memory_smear = {
    .slot = SLOT_MEMORY, .name = "smear", .about = "the token before, behind a gate",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .memory = build,
};
