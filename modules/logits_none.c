/* No logits: all are 0, and no weight makes them. For choices that go by none, as those of hash layers. Roller 2021. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *u, int experts)
{
    (void)self; (void)u;
    return scale(b->graph, build_ones(b, SHAPE(b->tokens, experts)), 0);                        /* [T,E] */
}

static void traits(struct pick self, struct traits *t) { (void)self; t->unscored = true; }

const struct module logits_none = {
    .slot = SLOT_LOGITS, .name = "none", .about = "nothing: for choices that need none",
    .traits = traits, .logits = build,
};
