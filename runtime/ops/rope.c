/* Rotary positions: the pair (a, b) of a head is rotated by the angle p base^(-2i/D), p counted from the start of the
   document. Su 2021; where: first (NeoX) or last (WeLM) `width` values with D = width, or proportional (Gemma 4), pairs
   over the whole head with D = W of which the width/2 fastest are rotated. A pair are values i and i + D/2, or where
   they are interleaved 2i and 2i + 1. For longer contexts frequencies are divided, the slow ones or all of them. */
#define VERBS "graph/ops/rows.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { X, START, POS };                                     /* inputs */

VERB struct node *rope(struct graph *g, struct node *x, struct node *start, struct node *pos, struct rope_attr a)
{
    return graph_emit(g, &op_rope, &a, x, start, pos);
}

/* Rows of the table of cosines and sines: one a position when the chunk begins its sequences, else one a token. */
static int64_t table_rows(struct shape start, bool decode) { return decode ? shape_count(start) : start.dim[1]; }

static int infer(struct node *n, struct err *e)
{
    const struct rope_attr *at = n->attr;
    struct shape x = n->in[X]->shape, start = n->in[START]->shape;
    if (at->width > x.dim[2] || at->width % 2)
        return err_set(e, "cannot rotate %lld of %lld values of a head", (long long)at->width, (long long)x.dim[2]);
    if (at->where == ROPE_PROPORTIONAL && x.dim[2] % 2)
        return err_set(e, "heads of %lld values have no halves", (long long)x.dim[2]);
    node_value(n, n->in[X]->dtype, x);
    if (at->width) node_work(n, DTYPE_REAL, SHAPE(table_rows(start, n->in[POS]), at->width));  /* cosines, then sines */
    return 0;
}

static int64_t position(const struct args *a, int64_t token)
{
    int64_t before = a->in[POS].data ? ints(&a->in[POS])[0] : 0;
    return before + token % a->in[START].shape.dim[1] - ints(&a->in[START])[token];
}

/* Of pair i, what its frequency is multiplied by. */
static double bend(const struct rope_attr *at, int64_t i)
{
    double slow = 1 / at->factor, x = (double)i;
    if (x >= at->high) return slow;
    return x <= at->low ? 1 : 1 - (1 - slow) * (x - at->low) / (at->high - at->low);
}

/* Angles in double: the angle of a far position in float would have lost the digits that matter. A row that follows on
   the one before it is that row rotated by one position more; over a block that costs less than 1e-14. */
static void table_block(const struct args *a, int64_t from, int64_t to)
{
    const struct rope_attr *at = a->attr;
    int64_t pairs = at->width / 2, d = at->where == ROPE_PROPORTIONAL ? a->in[X].shape.dim[2] : at->width, last = 0;
    double theta[pairs], cosine[pairs], sine[pairs], c[pairs], s[pairs];
    for (int64_t i = 0; i < pairs; i++) {
        theta[i] = pow(at->base, -2.0 * (double)i / (double)d) * bend(at, i);
        cosine[i] = cos(theta[i]);
        sine[i] = sin(theta[i]);
    }
    for (int64_t r = from; r < to; r++) {
        real *restrict row = reals(&a->work[0]) + r * at->width;
        int64_t p = a->in[POS].data ? position(a, r) : r;
        if (r == from || p != last + 1)
            for (int64_t i = 0; i < pairs; i++) c[i] = cos((double)p * theta[i]), s[i] = sin((double)p * theta[i]);
        else
            for (int64_t i = 0; i < pairs; i++) {
                double before = c[i];
                c[i] = c[i] * cosine[i] - s[i] * sine[i];
                s[i] = s[i] * cosine[i] + before * sine[i];
            }
        for (int64_t i = 0; i < pairs; i++) {
            row[i] = (real)(at->amplitude * c[i]);
            row[pairs + i] = (real)(at->amplitude * s[i]);
        }
        last = p;
    }
}

static void fill_table(const struct args *a)
{
    const struct rope_attr *at = a->attr;
    if (at->width) each(a, table_rows(a->in[START].shape, a->in[POS].data), 64, table_block);
}

/* Where the pairs of a head lie, and the cosines of a token; its sines follow. gap 1: neighbours. */
struct rotation { int64_t pairs, first, gap; const real *cosines; };

static struct rotation rotation_of(const struct args *a, int64_t token)
{
    const struct rope_attr *at = a->attr;
    int64_t w = a->in[X].shape.dim[2], row = a->in[POS].data ? token : position(a, token);
    if (!at->width) return (struct rotation){ 0 };
    INVARIANT(row >= 0 && row < a->work[0].shape.dim[0], "rope: token %lld has position %lld", (long long)token,
              (long long)row);
    int64_t pairs = at->width / 2, gap = at->where == ROPE_PROPORTIONAL ? w / 2 : pairs;
    return (struct rotation){ pairs, at->where == ROPE_LAST ? w - at->width : 0, at->interleaved ? 1 : gap,
                              reals(&a->work[0]) + row * at->width };
}

static inline void rotate_pairs(int64_t n, real sign, const real *restrict c, const real *restrict s,
                              const real *restrict u, const real *restrict v, real beta, real *restrict yu,
                              real *restrict yv)
{
    for (int64_t i = 0; i < n; i++) {
        yu[i] = keep(beta, yu[i]) + (u[i] * c[i] - sign * s[i] * v[i]);
        yv[i] = keep(beta, yv[i]) + (v[i] * c[i] + sign * s[i] * u[i]);
    }
}

static inline void rotate_neighbours(int64_t n, real sign, const real *restrict c, const real *restrict s,
                                     const real *restrict x, real beta, real *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        real u = x[2 * i], v = x[2 * i + 1];
        y[2 * i] = keep(beta, y[2 * i]) + (u * c[i] - sign * s[i] * v);
        y[2 * i + 1] = keep(beta, y[2 * i + 1]) + (v * c[i] + sign * s[i] * u);
    }
}

static inline void pass(int64_t n, const real *restrict x, real beta, real *restrict y)
{
    for (int64_t i = 0; i < n; i++) y[i] = keep(beta, y[i]) + x[i];
}

/* y := beta y + heads of x rotated by the angle of the token, or back with sign -1. */
static void rotate_heads(const struct args *a, int64_t token, real sign, const real *x, real beta, real *y)
{
    int64_t heads = a->in[X].shape.dim[1], w = a->in[X].shape.dim[2];
    struct rotation by = rotation_of(a, token);
    int64_t first = by.first, second = first + by.gap, rest = second + by.pairs;
    if (by.gap == 1) {
        rest = first + 2 * by.pairs;
        for (int64_t h = 0; h < heads; h++, x += w, y += w) {
            rotate_neighbours(by.pairs, sign, by.cosines, by.cosines + by.pairs, x + first, beta, y + first);
            pass(first, x, beta, y);
            pass(w - rest, x + rest, beta, y + rest);
        }
        return;
    }
    for (int64_t h = 0; h < heads; h++, x += w, y += w) {
        rotate_pairs(by.pairs, sign, by.cosines, by.cosines + by.pairs, x + first, x + second, beta, y + first,
                   y + second);
        pass(first, x, beta, y);
        pass(by.gap - by.pairs, x + first + by.pairs, beta, y + first + by.pairs);
        pass(w - rest, x + rest, beta, y + rest);
    }
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = a->in[X].shape.dim[1] * a->in[X].shape.dim[2];
    real x_buffer[n], y_buffer[n];
    for (int64_t t = from; t < to; t++) {
        real *y = row_write(&a->out[0], t * n, n, y_buffer);
        rotate_heads(a, t, 1, row_read(&a->in[X], t * n, n, x_buffer), 0, y);
        row_done(&a->out[0], t * n, n, y);
    }
}

/* dx is dy rotated back. */
static void gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t n = a->in[X].shape.dim[1] * a->in[X].shape.dim[2];
    real dy_buffer[n], dx_buffer[n];
    for (int64_t t = from; t < to; t++) {
        real *dx = row_open(&a->din[X], t * n, n, a->beta[X], dx_buffer);
        rotate_heads(a, t, -1, row_read(&a->dout[0], t * n, n, dy_buffer), a->beta[X], dx);
        row_done(&a->din[X], t * n, n, dx);
    }
}

static void forward(const struct args *a)
{
    struct shape x = a->in[X].shape;
    fill_table(a);
    each(a, x.dim[0], rows_grain(x.dim[1] * x.dim[2]), tokens);
}

static void backward(const struct args *a)
{
    struct shape x = a->in[X].shape;
    if (!a->din[X].data) return;
    fill_table(a);
    each(a, x.dim[0], rows_grain(x.dim[1] * x.dim[2]), gradient);
}

KERNELS(rope) = { forward, backward, NULL };

ATTRIBUTES(rope, struct rope_attr,
    INT(struct rope_attr, width, NEEDED, 0, INT32_MAX, "values", "of a head that are rotated, an even number"),
    CHOICE(struct rope_attr, where, NEEDED, "first last proportional", "which of them"),
    BOOL(struct rope_attr, interleaved, 0, "pairs are neighbours, not of the two halves"),
    REAL(struct rope_attr, base, NEEDED, ABOVE_0, HUGE_VAL, "", "of the frequencies"),
    REAL(struct rope_attr, factor, 1, 1, HUGE_VAL, "", "what they are divided by from pair `high` on"),
    REAL(struct rope_attr, low, 0, 0, HUGE_VAL, "pair", "up to which they are not; between, evenly in between"),
    REAL(struct rope_attr, high, 0, 0, HUGE_VAL, "pair", "0: all are divided"),
    REAL(struct rope_attr, amplitude, 1, ABOVE_0, HUGE_VAL, "", "factor on what is rotated"));
OP(rope, .inputs = "x[T,H,W] start:I32[B,S] pos?:I32[1]",
   .outputs = "y[T,H,W]",
   .about = "pairs of a head rotated by their frequency times the position in the document (Su 2021)",
   ATTR(rope), .infer = infer, .gradient = true, .reads_in = 1 << START | 1 << POS);
