/* What of each head x stands at right angles to a vector of its group: y = x - by c v with c = x.v / max(v.v, FLOOR).
   by 1 takes the whole part along v. Heads share vectors as attention's share keys: head h has vector h / (H/G). */
#define VERBS "graph/ops/broadcast.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { X, V, BY };
enum { WIDEST = 1024 };                                     /* a thread of a GPU holds eight values */
#define FLOOR 1e-8

VERB struct node *reject(struct graph *g, struct node *x, struct node *v, struct node *by)
{
    return graph_emit(g, &op_reject, NULL, x, v, by);
}

static int infer(struct node *n, struct err *e)
{
    int64_t heads = n->in[X]->shape.dim[1], groups = n->in[V]->shape.dim[1];
    if (heads % groups)
        return err_set(e, "%lld heads cannot share %lld vectors evenly", (long long)heads, (long long)groups);
    if (n->in[X]->shape.dim[2] > WIDEST) return err_set(e, "heads are at most %d wide", WIDEST);
    node_value(n, n->in[X]->dtype, n->in[X]->shape);
    return 0;
}

static double product(const real *restrict x, const real *restrict y, int64_t d)
{
    double sum;
    ROW_SUM(sum, i, d, (double)x[i] * y[i]);
    return sum;
}

/* Row r is vector r of [T,G], with `share` heads from r * share on. */
static int64_t share_of(const struct args *a) { return a->in[X].shape.dim[1] / a->in[V].shape.dim[1]; }

static void rows(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[X].shape), share = share_of(a);
    real x_buffer[d], v_buffer[d], y_buffer[d], by_buffer[share];
    for (int64_t r = from; r < to; r++) {
        const real *restrict v = row_read(&a->in[V], r * d, d, v_buffer), *by = NULL;
        double square = product(v, v, d), length = square > FLOOR ? square : FLOOR;
        if (a->in[BY].data) by = row_read(&a->in[BY], r * share, share, by_buffer);
        for (int64_t h = 0; h < share; h++) {
            int64_t at = (r * share + h) * d;
            const real *restrict x = row_read(&a->in[X], at, d, x_buffer);
            real *restrict y = row_write(&a->out[0], at, d, y_buffer);
            real c = (real)(product(x, v, d) / length) * (by ? by[h] : 1);
            for (int64_t i = 0; i < d; i++) y[i] = x[i] - c * v[i];
            row_done(&a->out[0], at, d, y);
        }
    }
}

/* With e = dy.v / n: dx = dy - by e v;  dby = -c dy.v;  dv = -by (e x + c dy - 2 c e v), the last part only where n is
   not FLOOR. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = shape_last(a->in[X].shape), share = share_of(a);
    real x_buffer[d], v_buffer[d], dy_buffer[d], dx_buffer[d], sum[d], by_buffer[share], dby_buffer[share];
    for (int64_t r = from; r < to; r++) {
        const real *restrict v = row_read(&a->in[V], r * d, d, v_buffer), *by = NULL;
        double square = product(v, v, d), length = square > FLOOR ? square : FLOOR;
        real twice = square > FLOOR ? 2 : 0, *dby = NULL;
        if (a->in[BY].data) by = row_read(&a->in[BY], r * share, share, by_buffer);
        if (a->din[BY].data) dby = row_add(&a->din[BY], r * share, share, a->beta[BY], dby_buffer);
        memset(sum, 0, sizeof sum);
        for (int64_t h = 0; h < share; h++) {
            int64_t at = (r * share + h) * d;
            const real *restrict x = row_read(&a->in[X], at, d, x_buffer);
            const real *restrict dy = row_read(&a->dout[0], at, d, dy_buffer);
            double along = product(dy, v, d), part = product(x, v, d) / length;
            real factor = by ? by[h] : 1, c = (real)part, e = (real)(along / length);
            if (dby) dby[h] -= (real)(part * along);
            for (int64_t i = 0; i < d; i++) sum[i] -= factor * (e * x[i] + c * dy[i] - twice * c * e * v[i]);
            if (!a->din[X].data) continue;
            real *restrict dx = row_add(&a->din[X], at, d, a->beta[X], dx_buffer);
            for (int64_t i = 0; i < d; i++) dx[i] += dy[i] - factor * e * v[i];
            row_done(&a->din[X], at, d, dx);
        }
        if (dby) row_done(&a->din[BY], r * share, share, dby);
        if (!a->din[V].data) continue;
        real *restrict dv = row_add(&a->din[V], r * d, d, a->beta[V], dx_buffer);
        for (int64_t i = 0; i < d; i++) dv[i] += sum[i];
        row_done(&a->din[V], r * d, d, dv);
    }
}

static void each_row(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, shape_rows(a->in[V].shape), rows_grain(shape_last(a->in[X].shape) * share_of(a)), body);
}

static void forward(const struct args *a) { each_row(a, rows); }
static void backward(const struct args *a) { each_row(a, gradient); }

KERNELS(reject) = { forward, backward, NULL };
OP(reject, .inputs = "x[T,H,W] v[T,G,W] by?:REAL[T,H]",
   .outputs = "y[T,H,W]",
   .about = "x without `by` times its part along v: x - by (x.v / max(v.v, 1e-8)) v; by absent is 1",
   .infer = infer, .gradient = true, .cheap = true, .reads_in = 1 << X | 1 << V | 1 << BY);
