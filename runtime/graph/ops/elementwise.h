/* One value at a time: the table of graph/elementwise.h. */
#ifndef SLUICE_OPS_ELEMENTWISE_H
#define SLUICE_OPS_ELEMENTWISE_H

#include "verb.h"
#include "graph/elementwise.h"

#define UNARY_OF (struct graph *g, struct node *x)
#define POSITIVE_OF UNARY_OF
#define STEEP_OF UNARY_OF
#define BINARY_OF (struct graph *g, struct node *x, struct node *y)
#define BY_OF (struct graph *g, struct node *x, double p)
#define RANGE_OF (struct graph *g, struct node *x, double p, double q)
#define GLU_OF (struct graph *g, struct node *x, struct node *y, double p, double q)
#define ELEMENTWISE_OP(X, kind, name, ...) X(name, kind##_OF)
#define ELEMENTWISE_OPS(X) ELEMENTWISE(ELEMENTWISE_OP, X)

ELEMENTWISE_OPS(OP_DECLARE)

#endif
