/* Multi-token prediction in a chain (DeepSeek-V3, WeLM): depth k = 1.. sees the true token k
   ahead and predicts the next.
       h_k = block([norm_e(E[x_i+k]) ; norm_h(h_k-1)] M),  loss = weight/depth * mean CE(norm(h_k) W, x_i+k+1)
   h_0 is the trunk after its final norm; embedding and head are the trunk's. A block has no rows for the last
   k tokens of a sequence, which see no token k ahead; rows whose tokens cross a document's end do not count.
   In decoding row i of depth k drafts token i + k + 1, once token i + k is known or drafted. */
#include "model/module.h"

struct conf { int depth; double weight; };
static const struct param params[] = {
    INT(struct conf, depth, 1, 1, 8, "", "tokens predicted beyond the next"),
    REAL(struct conf, weight, 0.3, 0, 10, "", "weight of the loss, shared by the depths"),
    { 0 }
};

static struct node *block(struct build *b, struct node *ahead, struct node *h)
{
    struct node *both = concat(
        b->graph, 2, (struct node *[]){ build_norm(b, "norm_e", ahead), build_norm(b, "norm_h", h) });    /* [T,2D] */
    return build_block(b, b->conf->layers - 1, linear(b, "project", ROLE_MIX, both, b->width));
}

static void build(struct build *b, struct pick self, struct node *h, struct node *head_weight)
{
    const struct conf *c = self.conf;
    for (int k = 1; k <= c->depth; k++) {
        build_at(b, b->layers + k - 1);
        struct node *ahead = build_embedded(b, k), *before = build_handed(b, k - 1, "h", h);    /* [B*S,D] */
        build_block_enter(b);
        h = block(b, build_rows(b, ahead), build_rows(b, before));                              /* [B*(S-k),D] */
        build_further(b, build_norm(b, "norm", h), head_weight, c->weight / c->depth);
        build_block_leave(b);
    }
    build_at(b, -1);
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    if (c->depth >= model->seq)
        module_problem(problems, path, "depth", "%d: must be below the length of a sequence, seq = %d", c->depth,
                       model->seq);
}

static void traits(struct pick self, struct traits *t) { t->mtp_blocks = ((const struct conf *)self.conf)->depth; }

const struct module mtp_sequential = {
    .slot = SLOT_MTP, .name = "sequential", .about = "further tokens, one after the other",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .mtp = build,
};
