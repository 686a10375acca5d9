/* The verbs of the graph language, by families: one line an op. runtime/ops/ holds what each takes and gives, its shape
   rule, counts and CPU kernels; docs/ops.md lists them. A backend that lacks a twin does not link. */
#ifndef SLUICE_OPS_H
#define SLUICE_OPS_H

#include "ops/broadcast.h"
#include "ops/elementwise.h"
#include "ops/products.h"
#include "ops/ranks.h"
#include "ops/routing.h"
#include "ops/rows.h"
#include "ops/tokens.h"
#include "ops/update.h"

#define OPS(X) \
    PRODUCT_OPS(X) ELEMENTWISE_OPS(X) BROADCAST_OPS(X) ROW_OPS(X) TOKEN_OPS(X) ROUTING_OPS(X) RANK_OPS(X) \
    REDUCE_OPS(X) UPDATE_OPS(X)

#define OPS_INDEX(name, signature) OP_##name,
enum { OPS(OPS_INDEX) OP_COUNT };

#endif
