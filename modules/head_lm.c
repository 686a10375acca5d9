/* Next-token head: logits h W^T, cross-entropy averaged over the tokens that count. Tied: W is the embedding. */
#include "model/module.h"

struct conf { int tied; struct pick mtp; };
static const struct param params[] = {
    BOOL(struct conf, tied, true, "use the embedding's matrix"),
    SLOT(struct conf, mtp, SLOT_MTP, "none", "prediction of tokens further on"),
    { 0 }
};

static struct node *matrix(struct build *b, const struct conf *c)
{
    if (c->tied) return build_kept(b, -1, "embed.table");
    struct shape shape = SHAPE(b->vocab, b->width);
    return build_weight(b, "head.weight", ROLE_HEAD, shape, build_init(b, ROLE_HEAD, shape));
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
    build_token_metric(b, "accuracy", graph_result(g, loss, 2), 0, "", BETTER_HIGHER,
                       "share of next tokens that are the likeliest");
    build_position_losses(b, loss);
    c->mtp.module->mtp(b, c->mtp, h, w);
}

const struct module head_lm = {
    .slot = SLOT_HEAD, .name = "lm", .about = "next-token prediction",
    .conf_size = sizeof(struct conf), .params = params, .head = build,
};
