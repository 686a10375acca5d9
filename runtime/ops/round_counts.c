/* Counts of rows as whole tiles, which is what a product of matrices computes of each expert in any case. Guo 2025
   (SonicMoE, arXiv 2512.14080). */
#define VERBS "graph/ops/routing.h"
#include "op.h"

VERB struct node *round_counts(struct graph *g, struct node *counts, int64_t tile, enum rounding how)
{
    struct round_counts_attr a = { tile, how };
    return graph_emit(g, &op_round_counts, &a, counts);
}

static int64_t rounded(int64_t count, const struct round_counts_attr *at)
{
    int64_t tiles = count / at->tile, over = count % at->tile;
    bool up = at->how == ROUND_UP ? over > 0
                                  : 2 * over > at->tile || (2 * over == at->tile && tiles % 2 == 1);
    return (tiles + (at->how != ROUND_DOWN && up)) * at->tile;
}

static void forward(const struct args *a)
{
    for (int64_t e = 0; e < shape_count(a->out[0].shape); e++)
        reals(&a->out[0])[e] = (real)rounded((int64_t)reals(&a->in[0])[e], a->attr);
}

KERNELS(round_counts) = { forward, NULL, NULL };

ATTRIBUTES(round_counts, struct round_counts_attr,
    INT(struct round_counts_attr, tile, NEEDED, 1, INT32_MAX, "rows", "of which results are multiples"),
    CHOICE(struct round_counts_attr, how, NEEDED, "down up nearest",
           "which multiple; of two that are as near the even one"));
OP(round_counts, .inputs = "counts:REAL[E]", .outputs = "y:REAL[E]",
   .about = "each count as a multiple of tile; no gradient", ATTR(round_counts), .infer = infer_real);
