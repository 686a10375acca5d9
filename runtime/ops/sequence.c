/* Tokens moved along their sequence: shift; slice, its first ones alone; mask_rows, those that are there; cache, which
   writes a chunk into a buffer of longer sequences, and ring, into one of their last rows. Bytes are copied as they
   are; rows in bf16 are widened to a cache, which is memory of the model and never bf16. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"

/* ---- shift: out[b,s] = x[b,s+by], 0 past either end ---- */

VERB struct node *shift(struct graph *g, struct node *x, int by)
{
    int64_t at = by;
    return graph_emit(g, &op_shift, &at, x);
}

static void shift_forward(const struct args *a)
{
    int64_t by = ((const struct shift_attr *)a->attr)->by, length = a->in[0].shape.dim[1];
    int64_t first = by < 0 ? -by : 0, end = by > 0 ? length - by : length;
    size_t one = element_bytes(a->in[0].format), line = one * (size_t)length;
    memset(a->out[0].data, 0, line * (size_t)a->in[0].shape.dim[0]);
    for (int64_t b = 0; b < a->in[0].shape.dim[0] && first < end; b++)
        memcpy((char *)a->out[0].data + line * (size_t)b + one * (size_t)first,
               (const char *)a->in[0].data + line * (size_t)b + one * (size_t)(first + by),
               one * (size_t)(end - first));
}

KERNELS(shift) = { shift_forward, NULL, NULL };

ATTRIBUTES(shift, struct shift_attr,
    INT(struct shift_attr, by, NEEDED, INT32_MIN, INT32_MAX, "positions", "towards the beginning"));
OP(shift, .inputs = "x:I32|REAL[B,S]",
   .outputs = "y:I32|REAL[B,S]",
   .about = "y[b,s] = x[b,s+by], 0 past either end; no gradient",
   ATTR(shift), .infer = infer_same);

/* ---- slice: out[b,s,..] = x[b,s,..] for s < length;  dx[b,s,..] = dout[b,s,..], 0 beyond ---- */

struct slice_attr { int64_t length; };

VERB struct node *slice(struct graph *g, struct node *x, int64_t length)
{
    if (x && x->shape.rank > 1 && x->shape.dim[1] == length) return x;
    return graph_emit(g, &op_slice, &length, x);
}

static int slice_infer(struct node *n, struct err *e)
{
    struct shape s = n->in[0]->shape;
    int64_t length = *(const int64_t *)n->attr;
    if (length > s.dim[1])
        return err_set(e, "%lld positions of sequences of %lld", (long long)length, (long long)s.dim[1]);
    s.dim[1] = length;
    node_value(n, n->in[0]->dtype, s);
    return 0;
}

/* Values of a sequence of x, and how many of them are kept. */
struct cut { int64_t whole, kept; };
static struct cut cut_of(const struct args *a)
{
    return (struct cut){ shape_count(a->in[0].shape) / a->in[0].shape.dim[0],
                         shape_count(a->out[0].shape) / a->in[0].shape.dim[0] };
}

static void slice_sequences(const struct args *a, int64_t from, int64_t to)
{
    struct cut c = cut_of(a);
    size_t one = element_bytes(a->out[0].format);
    for (int64_t b = from; b < to; b++)
        memcpy((char *)a->out[0].data + (size_t)(b * c.kept) * one,
               (const char *)a->in[0].data + (size_t)(b * c.whole) * one, (size_t)c.kept * one);
}

static void slice_gradients(const struct args *a, int64_t from, int64_t to)
{
    enum { AT_ONCE = 1024 };
    struct cut c = cut_of(a);
    real dy_buffer[AT_ONCE], dx_buffer[AT_ONCE];
    for (int64_t b = from; b < to; b++)
        for (int64_t i = 0, n; i < c.whole; i += n) {
            int64_t end = i < c.kept ? c.kept : c.whole;
            n = end - i < AT_ONCE ? end - i : AT_ONCE;
            real *dx = row_add(&a->din[0], b * c.whole + i, n, a->beta[0], dx_buffer);
            const real *dy = i < c.kept ? row_read(&a->dout[0], b * c.kept + i, n, dy_buffer) : NULL;
            for (int64_t k = 0; dy && k < n; k++) dx[k] += dy[k];
            row_done(&a->din[0], b * c.whole + i, n, dx);
        }
}

static void slice_forward(const struct args *a) { each(a, a->in[0].shape.dim[0], 1, slice_sequences); }

static void slice_backward(const struct args *a)
{
    if (a->din[0].data) each(a, a->in[0].shape.dim[0], 1, slice_gradients);
}

KERNELS(slice) = { slice_forward, slice_backward, NULL };

ATTRIBUTES(slice, struct slice_attr,
    INT(struct slice_attr, length, NEEDED, 1, INT32_MAX, "positions", "that are kept"));
OP(slice, .inputs = "x:ANY[B,S,..]",
   .outputs = "y:ANY[B,L,..]",
   .about = "the first positions of each sequence",
   ATTR(slice), .infer = slice_infer, .gradient = true);

/* ---- mask_rows: out[t] = x[t], or `value` where present[t] is 0;  dx[t] = dout[t], or 0 ---- */

enum { X, PRESENT, SOME = 64 };                             /* SOME: rows of a block */

VERB struct node *mask_rows(struct graph *g, struct node *x, struct node *present, double value)
{
    return graph_emit(g, &op_mask_rows, &value, x, present);
}

static int mask_rows_infer(struct node *n, struct err *e)
{
    char x[64], present[64];
    if (shape_count(n->in[X]->shape) % shape_count(n->in[PRESENT]->shape) != 0)
        return err_set(e, "present %s does not fit rows %s", shape_text(n->in[PRESENT]->shape, present),
                       shape_text(n->in[X]->shape, x));
    node_value(n, n->in[X]->dtype, n->in[X]->shape);
    return 0;
}

static int64_t row_width(const struct args *a)
{
    return shape_count(a->in[X].shape) / shape_count(a->in[PRESENT].shape);
}

static void mask_rows_block(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = row_width(a);
    size_t bytes = (size_t)d * element_bytes(a->out[0].format);
    real buffer[d], value = (real)((const struct mask_rows_attr *)a->attr)->value;
    for (int64_t t = from; t < to; t++) {
        if (reals(&a->in[PRESENT])[t] != 0) {
            memcpy((char *)a->out[0].data + (size_t)t * bytes, (const char *)a->in[X].data + (size_t)t * bytes, bytes);
        } else if (a->out[0].format == FORMAT_I32) {
            for (int64_t i = 0; i < d; i++) ints(&a->out[0])[t * d + i] = (int32_t)value;
        } else {
            real *y = row_write(&a->out[0], t * d, d, buffer);
            for (int64_t i = 0; i < d; i++) y[i] = value;
            row_done(&a->out[0], t * d, d, y);
        }
    }
}

static void mask_rows_gradient(const struct args *a, int64_t from, int64_t to)
{
    int64_t d = row_width(a);
    real dx_buffer[d], dy_buffer[d];
    for (int64_t t = from; t < to; t++) {
        real *dx = row_add(&a->din[X], t * d, d, a->beta[X], dx_buffer);
        const real *dy = reals(&a->in[PRESENT])[t] != 0 ? row_read(&a->dout[0], t * d, d, dy_buffer) : NULL;
        for (int64_t i = 0; dy && i < d; i++) dx[i] += dy[i];
        row_done(&a->din[X], t * d, d, dx);
    }
}

static void mask_rows_forward(const struct args *a)
{
    each(a, shape_count(a->in[PRESENT].shape), SOME, mask_rows_block);
}

static void mask_rows_backward(const struct args *a)
{
    if (a->din[X].data) each(a, shape_count(a->in[PRESENT].shape), SOME, mask_rows_gradient);
}

KERNELS(mask_rows) = { mask_rows_forward, mask_rows_backward, NULL };

ATTRIBUTES(mask_rows, struct mask_rows_attr,
    REAL(struct mask_rows_attr, value, NEEDED, -HUGE_VAL, HUGE_VAL, "", "in the rows of tokens whose `present` is 0"));
OP(mask_rows, .inputs = "x:ANY present:REAL[..]",
   .outputs = "y:ANY",
   .about = "x, and `value` in the rows of tokens that are not present; gradient to x only",
   ATTR(mask_rows), .infer = mask_rows_infer, .gradient = true, .no_grad = 1u << PRESENT,
   .reads_in = 1u << PRESENT, .rows = 1u << X | 1u << PRESENT);

/* ---- cache: rows [B*S,..] go to positions pos..pos+S-1 of buffer [B,C,..]; ring: of position p to entry p mod C. The
   value is the buffer itself ---- */

enum { BUFFER, ROWS, START, POS };

VERB struct node *cache(struct graph *g, struct node *buffer, struct node *x, struct node *start, struct node *pos)
{
    return graph_emit(g, &op_cache, NULL, buffer, x, start, pos);
}

VERB struct node *ring(struct graph *g, struct node *buffer, struct node *x, struct node *start, struct node *pos)
{
    return graph_emit(g, &op_ring, NULL, buffer, x, start, pos);
}

static int cache_infer(struct node *n, struct err *e)
{
    char x_text[64], buffer_text[64];
    struct shape buffer = n->in[BUFFER]->shape, x = n->in[ROWS]->shape, start = n->in[START]->shape;
    if ((n->in[BUFFER]->dtype == DTYPE_I32) != (n->in[ROWS]->dtype == DTYPE_I32))
        return err_set(e, "rows and buffer must both hold integers, or neither");
    int64_t tokens = shape_count(start);
    if (buffer.dim[1] < start.dim[1] ||
        shape_count(x) * buffer.dim[1] * buffer.dim[0] != shape_count(buffer) * tokens)
        return err_set(e, "rows %s of %lld tokens do not fit the buffer %s", shape_text(x, x_text), (long long)tokens,
                       shape_text(buffer, buffer_text));
    node_value(n, n->in[BUFFER]->dtype, buffer);
    return 0;
}

/* Rows [from, from + n) of x go to entry `at` of the buffer's sequence b and those after it. */
static void write_entries(const struct args *a, int64_t b, int64_t from, int64_t n, int64_t at)
{
    const struct tensor *rows = &a->in[ROWS];
    int64_t width = shape_count(rows->shape) / shape_count(a->in[START].shape);
    size_t one = element_bytes(a->out[0].format);
    char *to = (char *)a->out[0].data + one * (size_t)((b * a->in[BUFFER].shape.dim[1] + at) * width);
    if (rows->format == a->out[0].format)
        memcpy(to, (const char *)rows->data + one * (size_t)(from * width), one * (size_t)(n * width));
    else row_widen(rows, from * width, n * width, (real *)(void *)to);
}

static void cache_forward(const struct args *a)
{
    struct shape buffer = a->in[BUFFER].shape;
    int64_t s = a->in[START].shape.dim[1], pos = ints(&a->in[POS])[0];
    INVARIANT(pos >= 0 && pos + s <= buffer.dim[1], "cache: %lld positions from %lld on, there are %lld", (long long)s,
              (long long)pos, (long long)buffer.dim[1]);
    for (int64_t b = 0; b < buffer.dim[0]; b++) write_entries(a, b, b * s, s, pos);
}

KERNELS(cache) = { cache_forward, NULL, NULL };
OP(cache, .inputs = "buffer*:ANY[B,C,..] x:ANY start:I32[B,S] pos:I32[1]",
   .outputs = "buffer:ANY[B,C,..]",
   .about = "the buffer, with x written from position pos on",
   .infer = cache_infer, .in_place = true);

static void ring_forward(const struct args *a)
{
    struct shape buffer = a->in[BUFFER].shape;
    int64_t s = a->in[START].shape.dim[1], pos = ints(&a->in[POS])[0], entries = buffer.dim[1];
    INVARIANT(pos >= 0, "ring: position %lld", (long long)pos);
    int64_t at = pos % entries, before_end = at + s > entries ? entries - at : s;
    for (int64_t b = 0; b < buffer.dim[0]; b++) {
        write_entries(a, b, b * s, before_end, at);
        if (before_end < s) write_entries(a, b, b * s + before_end, s - before_end, 0);
    }
}

KERNELS(ring) = { ring_forward, NULL, NULL };
OP(ring, .inputs = "buffer*:ANY[B,C,..] x:ANY start:I32[B,S] pos:I32[1]",
   .outputs = "buffer:ANY[B,C,..]",
   .about = "the buffer, with x written from entry pos mod C on, which follows its last one with its first",
   .infer = cache_infer, .in_place = true);
