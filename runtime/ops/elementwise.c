/* Ops on one value at a time, from the table in graph/elementwise.h. Bound by memory: what formulas name more than once
   is computed again in backward, which is cheaper than keeping it. */
#define VERBS "graph/ops/elementwise.h"
#include "op.h"
#include "graph/elementwise.h"
#include "cpu/values.h"

/* ---- the functions of the table ---- */

#define fn_exp vec_exp
#define fn_log vec_log
#define fn_sigmoid vec_sigmoid
#define fn_tanh vec_tanh
#define fn_divide(x, y) ((x) / (y))
#define FN static inline __attribute__((unused))
#ifdef SLUICE_DOUBLE
#define fn_sqrt sqrt
FN double fn_softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(x > 0 ? -x : x)); }
FN double fn_normal(double x) { return 0.5 * erfc(-x * sqrt(0.5)); }
#else
#define fn_sqrt sqrtf
ELEMENTWISE_FLOAT(FN)
#endif
ELEMENTWISE_PARTS(FN, real)

/* ---- the ops ---- */

ATTRIBUTES(by, struct elementwise_attr,
    REAL(struct elementwise_attr, p, NEEDED, -HUGE_VAL, HUGE_VAL, "", "of the formula"));
ATTRIBUTES(range, struct elementwise_attr,
    REAL(struct elementwise_attr, p, NEEDED, -HUGE_VAL, HUGE_VAL, "", "of the formula"),
    REAL(struct elementwise_attr, q, NEEDED, -HUGE_VAL, HUGE_VAL, "", "of the formula"));
#define UNARY_ATTR .attributes = NULL
#define POSITIVE_ATTR UNARY_ATTR
#define STEEP_ATTR UNARY_ATTR
#define BINARY_ATTR UNARY_ATTR
#define BY_ATTR ATTR(by)
#define RANGE_ATTR ATTR(range)
#define GLU_ATTR ATTR(range)

#define UNARY_INPUTS 1
#define POSITIVE_INPUTS 1
#define STEEP_INPUTS 1
#define BINARY_INPUTS 2
#define BY_INPUTS 1
#define RANGE_INPUTS 1
#define GLU_INPUTS 2
#define UNARY_VERB(name) VERB struct node *name(struct graph *g, struct node *x) \
{ \
    return graph_emit(g, &op_##name, NULL, x); \
}
#define POSITIVE_VERB UNARY_VERB
#define STEEP_VERB UNARY_VERB
#define BINARY_VERB(name) VERB struct node *name(struct graph *g, struct node *x, struct node *y) \
{ \
    return graph_emit(g, &op_##name, NULL, x, y); \
}
#define RANGE_VERB(name) VERB struct node *name(struct graph *g, struct node *x, double p, double q) \
{ \
    struct elementwise_attr attr = { p, q }; \
    return graph_emit(g, &op_##name, &attr, x); \
}
#define GLU_VERB(name) VERB struct node *name(struct graph *g, struct node *x, struct node *y, double p, double q) \
{ \
    struct elementwise_attr attr = { p, q }; \
    return graph_emit(g, &op_##name, &attr, x, y); \
}
#define BY_VERB(name) VERB struct node *name(struct graph *g, struct node *x, double p) \
{ \
    struct elementwise_attr attr = { p, 0 }; \
    return graph_emit(g, &op_##name, &attr, x); \
}

/* Block [from,to) of what a formula names, or nothing. */
static inline const real *block_of(const struct tensor *t, bool named, int64_t from, int64_t to, real *buffer)
{
    return named ? row_read(t, from, to - from, buffer) : NULL;
}

static inline real number(const struct args *a, bool second)
{
    const struct elementwise_attr *attr = a->attr;
    return attr ? (real)(second ? attr->q : attr->p) : 0;
}

/* The operands that `named` has, of number i. */
#define NAMES(i, named) \
    const real x = (named) & X_ ? xs[i] : 0, y = (named) & Y_ ? ys[i] : 0; \
    (void)x, (void)y

#define ELEMENTWISE_KERNELS(X, kind, name, reads, says, value, slope_x, slope_y) \
static void name##_block(const struct args *a, int64_t from, int64_t to) \
{ \
    const real p = number(a, false), q = number(a, true); \
    real x_buffer[BLOCK], y_buffer[BLOCK]; \
    const real *restrict xs = row_read(&a->in[0], from, to - from, x_buffer); \
    const real *restrict ys = block_of(&a->in[kind##_INPUTS - 1], kind##_INPUTS > 1, from, to, y_buffer); \
    WRITE(zs, a->out[0]); \
    (void)p, (void)q; \
    for (int64_t i = 0; i < to - from; i++) { NAMES(i, kind##_INPUTS > 1 ? X_ | Y_ : X_); zs[i] = (value); } \
    DONE(zs, a->out[0]); \
} \
static void name##_gradient(const struct args *a, int64_t from, int64_t to) \
{ \
    const real p = number(a, false), q = number(a, true); \
    real x_buffer[BLOCK], y_buffer[BLOCK], z_buffer[BLOCK]; \
    const real *restrict xs = block_of(&a->in[0], (reads) & X_, from, to, x_buffer); \
    const real *restrict ys = block_of(&a->in[kind##_INPUTS - 1], (reads) & Y_, from, to, y_buffer); \
    const real *restrict kept = block_of(&a->out[0], (reads) & Z_, from, to, z_buffer); \
    READ(arrives, a->dout[0]); \
    GRADIENT(dx, 0); \
    (void)p, (void)q; \
    if (kind##_INPUTS > 1 && !((reads) & NOT_Y)) { \
        GRADIENT(dy, kind##_INPUTS - 1); \
        for (int64_t i = 0; i < to - from; i++) { \
            NAMES(i, reads); \
            const real z = (reads) & Z_ ? kept[i] : 0, dz = arrives[i], along_x = (slope_x), along_y = (slope_y); \
            (void)z; \
            dx[i] = keep(dx_beta, dx[i]) + along_x; \
            dy[i] = keep(dy_beta, dy[i]) + along_y; \
        } \
        CLOSE(dy, kind##_INPUTS - 1); \
    } else { \
        for (int64_t i = 0; i < to - from; i++) { \
            NAMES(i, reads); \
            const real z = (reads) & Z_ ? kept[i] : 0, dz = arrives[i]; \
            (void)z; \
            dx[i] = keep(dx_beta, dx[i]) + (slope_x); \
        } \
    } \
    CLOSE(dx, 0); \
} \
EACH_BLOCK(name##_forward, name##_block) \
EACH_BLOCK(name##_backward, name##_gradient) \
KERNELS(name) = { name##_forward, name##_backward, NULL }; \
OP(name, .inputs = kind##_INPUTS > 1 ? "x[..] y[..]" : "x[..]", \
   .outputs = (reads) & TO_REAL ? "z:REAL[..]" : "z[..]", .about = says, kind##_ATTR, \
   .infer = (reads) & TO_REAL ? infer_real : infer_same, .gradient = true, \
   .no_grad = (reads) & NOT_Y ? 1u << 1 : 0, .rows = kind##_INPUTS > 1 ? 3 : 1, .rows_back = true, \
   .reads_in = (reads) & (X_ | Y_), .reads_out = (reads) & Z_ ? 1 : 0, .cheap = ((reads) & CHEAP) != 0); \
kind##_VERB(name)

ELEMENTWISE(ELEMENTWISE_KERNELS, )
