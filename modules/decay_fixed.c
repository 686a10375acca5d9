/* Fixed decays, one for each head h of H, each the same for all tokens and never learned.
   retnet (Sun 2023): g = log(1 - 2^(-5-h)).
   slopes (Lightning Attention, Qin 2024; MiniMax-01): g = -2^(-8 (h+1) / H) (1 - l / (L-1) + 1e-5), layer l of L:
   ALiBi's slopes, less in deep layers. */
#include "model/module.h"
#include <math.h>

enum by { RETNET, SLOPES };
struct conf { int by; };
static const struct param params[] = {
    CHOICE(struct conf, by, RETNET, "retnet slopes", "the rule that gives each head its decay"),
    { 0 }
};

static double of_head(const struct build *b, enum by by, int64_t head, int64_t heads)
{
    if (by == RETNET) return log1p(-exp2(-5 - (double)head));
    double deep = b->blocks > 1 ? (double)b->layer / (b->blocks - 1) : 0;
    return -exp2(-8 * (double)(head + 1) / (double)heads) * (1 - deep + 1e-5);
}

static struct node *build(struct build *b, struct pick self, struct node *u, int64_t heads, int64_t width)
{
    (void)u; (void)width;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node **of = arena_alloc(b->arena, (size_t)heads * sizeof(struct node *));
    for (int64_t h = 0; h < heads; h++) of[h] = build_constant(b, of_head(b, c->by, h, heads));
    struct node *row = heads > 1 ? concat(g, (int)heads, of) : of[0];                           /* [H] */
    return view(g, repeat(g, view(g, row, SHAPE(1, heads)), b->tokens), SHAPE(b->tokens, heads));
}

const struct module decay_fixed = {
    .slot = SLOT_DECAY, .name = "fixed", .about = "one for each head, not learned (RetNet, Lightning)",
    .conf_size = sizeof(struct conf), .params = params, .decay = build,
};
