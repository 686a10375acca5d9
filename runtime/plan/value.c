/* Whose memory a node's value is, and how large. */
#include "plan_private.h"

struct root plan_root_of(const struct node *n)
{
    int output = 0;
    for (;;) {
        if (n->op == &op_result) { output = n->output; n = n->in[0]; return (struct root){ n, output }; }
        if (n->op->kind == OP_ALIAS) n = n->in[0];
        else if (n->op->kind == OP_COMPUTE && n->op->in_place) n = n->in[0];
        else return (struct root){ n, output };
    }
}

enum format plan_format_of(const struct plan *p, enum dtype d)
{
    switch (d) {
    case DTYPE_ACT:  return p->how.precision == PRECISION_BF16 ? FORMAT_BF16 : FORMAT_REAL;
    case DTYPE_REAL: return FORMAT_REAL;
    case DTYPE_I32:  return FORMAT_I32;
    case DTYPE_U8:   return FORMAT_U8;
    }
    INVARIANT(false, "dtype %d", (int)d);
}

size_t plan_decl_bytes(const struct plan *p, struct decl d) { return (size_t)shape_count(d.shape) * element_bytes(plan_format_of(p, d.dtype)); }
