/* A value over the micro-batches of a step, in memory that outlives them: their sum, largest or last. A mean is kept as
   a sum, which its reader divides. */
#define VERBS "graph/ops/update.h"
#include "op.h"

enum { BLOCK = 4096 };

/* What is carried alike already is not carried twice. */
VERB struct node *carry(struct graph *g, struct node *x, enum carry how)
{
    int64_t at = how;
    for (int i = 0; i < g->n; i++) {
        struct node *n = g->node[i];
        if (has_bit(n->op->bridges, 0) && n->in[0] == x && n->carry == how && n->region == g->region) return n;
    }
    return graph_emit(g, &op_carry, &at, x);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    n->carry = (enum carry)((const struct carry_attr *)n->attr)->how;
    node_value(n, DTYPE_REAL, n->in[0]->shape);
    return 0;
}

static const real *widened(const struct tensor *t, int64_t at, int64_t n, real *buffer)
{
    if (t->format != FORMAT_I32) return row_read(t, at, n, buffer);
    for (int64_t i = 0; i < n; i++) buffer[i] = (real)ints(t)[at + i];
    return buffer;
}

static void block(const struct args *a, int64_t from, int64_t to)
{
    int64_t how = ((const struct carry_attr *)a->attr)->how, n = to - from;
    real buffer[BLOCK], *restrict held = reals(&a->out[0]) + from;
    const real *restrict x = widened(&a->in[0], from, n, buffer);
    if (a->step->micro == 0 || how == CARRY_LAST) memcpy(held, x, (size_t)n * sizeof *held);
    else if (how == CARRY_MAX)
        for (int64_t i = 0; i < n; i++) held[i] = x[i] > held[i] || x[i] != x[i] ? x[i] : held[i];
    else for (int64_t i = 0; i < n; i++) held[i] += x[i];
}

static void forward(const struct args *a) { each(a, shape_count(a->out[0].shape), BLOCK, block); }

KERNELS(carry) = { forward, NULL, NULL };

ATTRIBUTES(carry, struct carry_attr,
    CHOICE(struct carry_attr, how, NEEDED, "sum mean max last",
           "what of them; a mean is kept as a sum, which its reader divides"));
OP(carry, .inputs = "x:ANY[..]",
   .outputs = "y:REAL[..]",
   .about = "x over the micro-batches of a step: what later regions read",
   ATTR(carry), .bridges = 1u << 0, .infer = infer);
