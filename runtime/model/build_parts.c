/* Sequences of which ranks have parts (context parallel), and what cannot be made of parts. */
#include "building.h"

bool build_divides(const struct build *b)
{
    return b->mode != MODE_DECODE && place_group(&b->graph->leaves->here, OVER_CP) > 1;
}

struct node *build_sequences(struct build *b, struct node *x)
{
    if (!build_divides(b)) return x;
    if (x->shape.dim[0] != b->tokens) x = view(b->graph, x, SHAPE(b->tokens));
    return gather_sequences(b->graph, x, b->start, OVER_CP);
}

struct node *build_sequences_sum(struct build *b, struct node *x)
{
    return build_divides(b) ? all_reduce(b->graph, x, OVER_CP) : x;
}

void build_undivided(struct build *b, const char *what)
{
    int ranks = place_group(&b->graph->leaves->here, OVER_CP);
    if (build_divides(b))
        graph_fail(b->graph, "train.ranks.cp: %d: %s: ranks cannot divide sequences with %s; it must be 1", ranks,
                   b->path, what);
}
