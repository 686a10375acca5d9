/* Next-token head: logits x = h W^T, cross-entropy averaged over the tokens that count. Tied: W is the embedding. Added
   to the objective, as means over the same tokens, may be
       z_loss lse^2,  lse = log sum e^x          which keeps the sum of exponentials near 1 (PaLM; Chowdhery 2022)
       smoothing (x_t - mean of x)               label smoothing: of the target's probability 1 - smoothing is asked
   for, and the rest of all of the vocabulary alike (Szegedy 2015). The loss that is reported is cross-entropy alone. */
#include "model/module.h"

struct conf { int tied; double z_loss, smoothing; struct pick mtp; };
static const struct param params[] = {
    BOOL(struct conf, tied, true, "use the embedding's matrix"),
    OPTIONAL(struct conf, z_loss, 0, 1, "", "weight of the squared log of the sum of exponentials; PaLM: 1e-4"),
    OPTIONAL(struct conf, smoothing, 0, 0.9, "", "share of the target's probability that all others share"),
    SLOT(struct conf, mtp, SLOT_MTP, "none", "prediction of tokens further on"),
    { 0 }
};

static struct node *matrix(struct build *b, const struct conf *c)
{
    if (c->tied) return build_kept(b, -1, "embed.table");
    struct shape shape = SHAPE(b->vocab, b->width);
    return build_weight(b, "head.weight", ROLE_HEAD, shape, build_init(b, ROLE_HEAD, shape));
}

/* x_t - mean of x, [T]: what cross-entropy gains for each share that is taken from the target. */
static struct node *above_mean(struct build *b, struct node *loss, struct node *h, struct node *w)
{
    struct graph *g = b->graph;
    struct node *target = subtract(g, graph_result(g, loss, 1), loss),                          /* [T] */
                *mean = matmul(g, h, view(g, mean_rows(g, w), SHAPE(1, b->width)), DTYPE_REAL);         /* [T,1] */
    return subtract(g, target, view(g, mean, SHAPE(b->tokens)));
}

static void build(struct build *b, struct pick self, struct node *h)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *w = matrix(b, c);                                                              /* [V,D] */
    if (b->mode == MODE_DECODE) {
        build_keep(b, -1, "logits", matmul(g, h, w, DTYPE_REAL));                               /* [T,V] */
        if (b->drafts) c->mtp.module->mtp(b, c->mtp, h, w);
        return;
    }
    struct node *loss = cross_entropy(g, h, w, b->target);                                      /* [T] */
    build_keep(b, -1, "head.loss", loss);
    build_token_loss(b, "lm", loss, 0, 1);
    if (c->z_loss > 0) build_token_loss(b, "head_z", square(g, graph_result(g, loss, 1)), 0, c->z_loss);
    if (c->smoothing > 0) build_token_loss(b, "smoothing", above_mean(b, loss, h, w), 0, c->smoothing);
    build_token_metric(b, "accuracy", graph_result(g, loss, 2), 0, "", BETTER_HIGHER,
                       "share of next tokens that are the likeliest");
    build_position_losses(b, loss);
    c->mtp.module->mtp(b, c->mtp, h, w);
}

const struct module head_lm = {
    .slot = SLOT_HEAD, .name = "lm", .about = "next-token prediction",
    .conf_size = sizeof(struct conf), .params = params, .head = build,
};
