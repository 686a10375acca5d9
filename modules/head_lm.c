/* Next-token head: logits x = h W^T, cross-entropy averaged over the tokens that count. Tied: W is the embedding.
   Added to the objective, as means over the same tokens, may be
       z_loss lse^2,  lse = log sum e^x          which keeps the sum of exponentials near 1 (PaLM; Chowdhery 2022)
       smoothing (x_t - mean of x)               label smoothing: of the target's probability 1 - smoothing is asked
   for, and the rest of all of the vocabulary alike (Szegedy 2015). With `focal` a token's loss counts (1 - p)^focal
   times, p the probability of its target: what is known already counts less (Lin 2017). Logits may be capped, softcap
   tanh(x / softcap) (Gemma 2). The loss that is reported is cross-entropy alone. */
#include "model/module.h"

struct conf { int tied; double softcap, z_loss, smoothing, focal; struct pick mtp; };
static const struct param params[] = {
    BOOL(struct conf, tied, true, "use the embedding's matrix"),
    OPTIONAL(struct conf, softcap, 0, 1e4, "", "largest logit; Gemma 2: 30"),
    OPTIONAL(struct conf, z_loss, 0, 1, "", "weight of the squared log of the sum of exponentials; PaLM: 1e-4"),
    OPTIONAL(struct conf, smoothing, 0, 0.9, "", "share of the target's probability that all others share"),
    OPTIONAL(struct conf, focal, 0, 10, "", "power of 1 - p that a token's loss is weighted with"),
    SLOT(struct conf, mtp, SLOT_MTP, "none", "prediction of tokens further on"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->softcap > 0 && c->smoothing > 0)
        module_problem(problems, path, "smoothing", "%g beside a softcap of %g: the mean logit that smoothing asks for "
                       "is that of logits without a cap", c->smoothing, c->softcap);
}

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
                *mean = build_logits(b, h, view(g, mean_rows(g, w), SHAPE(1, shape_last(w->shape))));   /* [T,1] */
    return subtract(g, target, view(g, mean, SHAPE(b->tokens)));
}

/* (1 - p)^focal, [T], which is no gradient's way. */
static struct node *unknown(struct build *b, const struct conf *c, struct node *loss)
{
    struct graph *g = b->graph;
    struct node *rest = offset(g, scale(g, exp_of(g, scale(g, detach(g, loss), -1)), -1), 1);
    return exp_of(g, scale(g, log_of(g, clamp(g, rest, 1e-6, 1)), c->focal));
}

static void build(struct build *b, struct pick self, struct node *h)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *w = matrix(b, c);                                                              /* [V,D] */
    b->softcap = c->softcap;
    if (b->mode == MODE_DECODE) {
        build_keep(b, -1, "logits", build_logits(b, h, w));                                     /* [T,V] */
        if (b->drafts) c->mtp.module->mtp(b, c->mtp, h, w);
        return;
    }
    struct node *loss = build_cross_entropy(b, h, w, b->target);                                /* [T] */
    build_keep(b, -1, "head.loss", loss);
    build_token_loss(b, "lm", loss, 0, c->focal > 0 ? 0 : 1);
    if (c->focal > 0) build_token_loss(b, "focal", mul(g, loss, unknown(b, c, loss)), 0, 1);
    if (c->z_loss > 0) build_token_loss(b, "head_z", square(g, graph_result(g, loss, 1)), 0, c->z_loss);
    if (c->smoothing > 0) build_token_loss(b, "smoothing", above_mean(b, loss, h, w), 0, c->smoothing);
    build_token_metric(b, "accuracy", graph_result(g, loss, 2), 0, "", BETTER_HIGHER,
                       "share of next tokens that are the likeliest");
    build_position_losses(b, loss);
    c->mtp.module->mtp(b, c->mtp, h, w);
}

static void traits(struct pick self, struct traits *t) { t->tied = ((const struct conf *)self.conf)->tied; }

const struct module head_lm = {
    .slot = SLOT_HEAD, .name = "lm", .about = "next-token prediction",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .head = build,
};
