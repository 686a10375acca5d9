/* Formats and sizes of values under a plan. */
#include "plan_private.h"

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

bool plan_computes(const struct plan *p, const struct node *n) { return p->planned[n->id].live; }

size_t plan_decl_bytes(const struct plan *p, struct decl d)
{
    return (size_t)shape_count(d.shape) * element_bytes(plan_format_of(p, d.dtype));
}
