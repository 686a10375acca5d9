/* What an op's file begins with. The file is compiled once for the op itself, OP and VERB, and once for each
   instruction set for its KERNELS alone (base/level.h): there the op has no name, so that a new op makes no
   other op's kernels anew. VERBS is the family that declares it. */
#ifndef SLUICE_OP_H
#define SLUICE_OP_H

#include "backend/kernel.h"

#ifdef ISA
#define OP(name_, ...) struct op_##name_
#define ATTRIBUTES(name_, type, ...) struct op_##name_
#define VERB static inline __attribute__((unused))
#undef graph_emit
#define graph_emit(g, op, attr, ...) ((void)(attr), (struct node *)NULL)
#define graph_emit_n(g, op, attr, ...) ((void)(attr), (struct node *)NULL)
#else
#include "base/param.h"
#include VERBS
#define OP(name_, ...) const struct op op_##name_ = { .name = #name_, .index = &index_of_##name_, __VA_ARGS__ }
/* The attributes of an op, a row for each field of `type`; ATTR in its OP says that it has them. */
#define ATTRIBUTES(name_, type, ...) \
    static const struct param attributes_##name_[] = { __VA_ARGS__, { 0 } }; \
    enum { attr_size_##name_ = sizeof(type) }
#define ATTR(name_) .attributes = attributes_##name_, .attr_size = attr_size_##name_
#define VERB

/* Shapes that many ops have: the first input's, the same in REAL, one number. */
static inline __attribute__((unused)) int infer_same(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, n->in[0]->dtype, n->in[0]->shape);
    return 0;
}

static inline __attribute__((unused)) int infer_real(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, n->in[0]->shape);
    return 0;
}

static inline __attribute__((unused)) int infer_number(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(1));
    return 0;
}
#endif

#endif
