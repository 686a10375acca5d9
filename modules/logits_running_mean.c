/* Logits of the document so far: the mean of u W^T over a token and those before it in its document. Experts are then
   branches, of which a sequence, once it is known what it is about, keeps to the same: with top_k = experts and softmax
   a soft mixture of feed-forwards whose weights hardly move from token to token, with top_k = 1 one of them, times its
   probability. The mean is a sum of a delta rule that forgets nothing, over how many it counted. */
#include "model/module.h"

#include <float.h>

enum { CHUNK = 64 };                                        /* tokens that are products of matrices together */

static struct node *build(struct build *b, struct pick self, struct node *u, int experts)
{
    (void)self;
    struct graph *g = b->graph;
    struct node *one = build_ones(b, SHAPE(b->tokens, 1)), *key = view(g, one, SHAPE(b->tokens, 1, 1)),
                *logits = readout(b, "router", ROLE_ROUTER, u, experts),                         /* [T,E] */
                *counted = concat(g, 2, (struct node *[]){ logits, one });                      /* [T,E+1] */
    struct delta_rule rule = { .q = key, .k = key, .v = view(g, counted, SHAPE(b->tokens, 1, experts + 1)),
                               .g = scale(g, one, 0), .beta = one, .start = b->start, .pos = b->pos, .scale = 1,
                               .chunk = CHUNK, .state = build_state(b, "router.mean", SHAPE(1, experts + 1), 1) };
    struct node *sum = view(g, delta_rule(g, rule), counted->shape),
                *number = clamp(g, columns(g, sum, experts, 1), 1, FLT_MAX);                    /* [T,1] */
    return divide(g, columns(g, sum, 0, experts), repeat(g, view(g, number, SHAPE(b->tokens)), experts));
}

const struct module logits_running_mean = {
    .slot = SLOT_LOGITS, .name = "running_mean", .about = "of the mean of the document's tokens so far: branches",
    .logits = build,
};
