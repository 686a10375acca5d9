/* Products of matrices, and what is made of them. */
#ifndef SLUICE_OPS_PRODUCTS_H
#define SLUICE_OPS_PRODUCTS_H

#include "verb.h"

#define PRODUCT_OPS(X) \
    X(matmul, (struct graph *g, struct node *x, struct node *w, enum dtype out)) \
    X(grouped_matmul, (struct graph *g, struct node *x, struct node *w, struct node *offsets)) \
    X(head_matmul, (struct graph *g, struct node *x, struct node *w, bool transposed)) \
    X(fp8_matmul, (struct graph *g, struct node *x, struct node *w, struct node *offsets, struct node *history, \
                   struct fp8_attr a)) \
    X(nf4_matmul, (struct graph *g, struct node *x, struct node *codes, struct node *offsets, struct nf4_attr a)) \
    X(attention, (struct graph *g, struct attention a)) \
    X(attention_entropy, (struct graph *g, struct attention a)) \
    X(index_topk, (struct graph *g, struct index_topk a)) \
    X(block_topk, (struct graph *g, struct block_topk a)) \
    X(delta_rule, (struct graph *g, struct delta_rule a)) \
    X(cross_entropy, (struct graph *g, struct node *h, struct node *w, struct node *target, double softcap))

PRODUCT_OPS(OP_DECLARE)

/* What a node of op attention was made of; nothing where the graph has failed. */
struct attention attention_given(const struct node *n);

#endif
