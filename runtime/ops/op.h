/* What an op's file begins with. The file is compiled once for the op itself, OP and VERB, and once for each
   instruction set for its KERNELS alone (base/level.h): there the op has no name, so that a new op makes no
   other op's kernels anew. */
#ifndef SLUICE_OP_H
#define SLUICE_OP_H

#include "backend/kernel.h"

#ifdef ISA
#define OP(name_, ...) struct op_##name_
#define VERB static inline __attribute__((unused))
#undef graph_emit
#define graph_emit(g, op, attr, ...) ((void)(attr), (struct node *)NULL)
#define graph_emit_n(g, op, attr, ...) ((void)(attr), (struct node *)NULL)
#else
#include "graph/ops.h"
#define OP(name_, ...) const struct op op_##name_ = { .name = #name_, .index = OP_##name_, __VA_ARGS__ }
#define VERB
#endif

#endif
