/* Attention and feed-forward side by side, of the same normalised input: x + attention(u) + ffn(u), u = norm(x). One
   norm fewer, and no wait of one for the other. Wang 2021 (GPT-J); Chowdhery 2022 (PaLM). */
#include "model/module.h"

static struct node *both(struct build *b, const void *none, struct node *u)
{
    struct node *mixed = build_attention(b, none, u);
    build_leave(b);                                         /* weights have the names that they have in sequence */
    build_enter(b, "ffn");
    struct node *y = add(b->graph, mixed, build_joined(b, build_ffn(b, none, u)));
    build_leave(b);
    build_enter(b, "attention");
    return y;
}

static void build(struct build *b, struct pick self, struct stream *s)
{
    (void)self;
    build_around(b, s, (struct sublayer){ both, NULL, "attention" });
}

const struct module block_parallel = {
    .slot = SLOT_BLOCK, .name = "parallel", .about = "attention and ffn of one input", .block = build,
};
