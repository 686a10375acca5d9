/* Attention, then the feed-forward, each with the residual around it. Vaswani 2017. */
#include "model/module.h"

static struct node *ffn(struct build *b, const void *none, struct node *u)
{
    return build_joined(b, build_ffn(b, none, u));
}

static void build(struct build *b, struct pick self, struct stream *s)
{
    (void)self;
    build_around(b, s, (struct sublayer){ build_attention, NULL, "attention" });
    build_around(b, s, (struct sublayer){ ffn, NULL, "ffn" });
}

const struct module block_sequential = {
    .slot = SLOT_BLOCK, .name = "sequential", .about = "attention, then ffn", .block = build,
};
