/* Multi-token prediction by heads side by side. Gloeckle 2024 (arXiv 2404.19737): beside the trunk's last layer, which
   predicts the next token, stand `heads` more like it, which read what it reads, of the same tokens:
       loss += weight * sum_k mean CE(norm(block_k(z_i)) W, x_i+k+1),  k = 1..heads
   Final norm and head are the trunk's. No head knows what another predicts. With n heads in all the paper takes n - 1
   layers off the trunk. A head has no rows for the last k tokens of a sequence; rows whose token crosses a document's
   end do not count. In decoding row i of head k drafts token i + k + 1. */
#include "model/module.h"

struct conf { int heads; double weight; };
static const struct param params[] = {
    INT(struct conf, heads, 3, 0, 8, "", "heads beyond the next token's; 0: that alone"),
    REAL(struct conf, weight, 1, 0, 10, "", "weight of the loss of each"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct node *h, struct node *head_weight)
{
    (void)h;
    const struct conf *c = self.conf;
    for (int k = 1; k <= c->heads; k++) {
        build_at(b, b->layers + k - 1);
        build_block_enter(b);
        build_further(b, build_ended(b, build_branch(b)), head_weight, c->weight);              /* of [B*(S-k),D] */
        build_block_leave(b);
    }
    build_at(b, -1);
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    if (c->heads >= model->seq)
        module_problem(problems, path, "heads", "%d: must be below the length of a sequence, seq = %d", c->heads,
                       model->seq);
}

static void traits(struct pick self, struct traits *t) { t->mtp_blocks = ((const struct conf *)self.conf)->heads; }

const struct module mtp_parallel = {
    .slot = SLOT_MTP, .name = "parallel", .about = "further tokens, each by a head of its own",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .mtp = build,
};
