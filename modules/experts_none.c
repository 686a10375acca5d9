/* One projection to queries and one of the heads, the same for all tokens. */
#include "model/module.h"

static struct queries queries(struct build *b, struct pick self, struct node *u, struct heads h)
{
    (void)self;
    struct queries made = { .q = affine_part(b, SIDE_OUTPUTS, h.bias, "q", ROLE_Q, u, h.n * h.width, false),
                            .k = 1, .heads = h };
    build_heads(b, "q", build_part(b, h.n));
    return made;
}

static struct node *output(struct build *b, struct pick self, const struct queries *q, struct node *heads)
{
    (void)self;
    heads = view(b->graph, heads, SHAPE(b->tokens, build_part(b, q->heads.n) * q->heads.width));
    return affine_part(b, SIDE_INPUTS, q->heads.output_bias, "out", ROLE_OUT, heads, b->width, false);
}

const struct module experts_none = {
    .slot = SLOT_EXPERTS, .name = "none", .about = "one projection for all tokens",
    .queries = queries, .output = output,
};
