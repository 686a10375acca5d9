/* Windows of m tokens become one entry each (DeepSeek-AI 2026, V4): per channel the mean of c weighed by softmax(z +
   bias) over the window's tokens. With overlap rows are twice as wide, and an entry is made of 2 m of them: the first
   half of the previous window's and the second half of its own, in one softmax; the first window of a document has its
   own alone. Windows are counted from where a document begins, and that of tokens from p on lies at p / m. While
   decoding a ring keeps the rows of the last positions, and a window becomes an entry with its last token. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { C, Z, BIAS, START, POS, STATE, ENTRIES };
enum { Y, SHIFTED, ZERO };                                  /* outputs */
enum { LSE };                                               /* saved */

VERB struct node *pool_windows(struct graph *g, struct node *c, struct node *z, struct node *bias, struct node *start,
                               struct node *pos, struct node *state, struct node *entries, int64_t m, bool overlap)
{
    struct pool_windows_attr at = { m, overlap };
    return graph_emit(g, &op_pool_windows, &at, c, z, bias, start, pos, state, entries);
}

static int infer(struct node *n, struct err *e)
{
    const struct pool_windows_attr *at = n->attr;
    char text[64];
    struct shape c = n->in[C]->shape, start = n->in[START]->shape;
    int64_t width = c.dim[1] / (at->overlap ? 2 : 1), reach = (at->overlap ? 2 : 1) * at->m;
    if (at->overlap && c.dim[1] % 2) return err_set(e, "rows %s have no halves", shape_text(c, text));
    if (n->in[BIAS] && n->in[BIAS]->shape.dim[0] != at->m)
        return err_set(e, "bias %s is of windows of %lld", shape_text(n->in[BIAS]->shape, text), (long long)at->m);
    if (!n->in[POS] != !n->in[STATE] || !n->in[POS] != !n->in[ENTRIES])
        return err_set(e, "pos, state and entries go together");
    if (n->in[STATE] && n->in[STATE]->shape.dim[1] < reach - 1)
        return err_set(e, "state %s keeps %lld positions, %lld are needed", shape_text(n->in[STATE]->shape, text),
                       (long long)n->in[STATE]->shape.dim[1], (long long)reach - 1);
    if (n->in[STATE] && n->in[STATE]->shape.dim[2] != 2 * c.dim[1])
        return err_set(e, "state %s does not keep c and z", shape_text(n->in[STATE]->shape, text));
    int64_t whole = start.dim[1] / at->m, entries = n->in[ENTRIES] ? n->in[ENTRIES]->shape.dim[1] : whole ? whole : 1;
    if (n->in[ENTRIES] && n->in[ENTRIES]->shape.dim[2] != width)
        return err_set(e, "entries %s are not %lld wide", shape_text(n->in[ENTRIES]->shape, text), (long long)width);
    node_value(n, n->in[C]->dtype, SHAPE(start.dim[0], entries, width));
    node_output(n, DTYPE_I32, SHAPE(start.dim[0], entries));
    node_output(n, DTYPE_I32, SHAPE(1));
    node_save(n, DTYPE_REAL, SHAPE(start.dim[0], entries, width));
    return 0;
}

static void cost(const struct node *n, struct cost *c) { c->flops = 2 * (double)shape_count(n->in[C]->shape); }

struct sizes { int64_t batch, seq, pos, m, parts, width, row, entries, ring; };
static struct sizes sizes_of(const struct args *a)
{
    const struct pool_windows_attr *at = a->attr;
    struct shape start = a->in[START].shape, y = a->out[Y].shape;
    int64_t parts = at->overlap ? 2 : 1;
    return (struct sizes){ start.dim[0], start.dim[1], a->in[POS].data ? ints(&a->in[POS])[0] : 0, at->m, parts,
                           y.dim[2], parts * y.dim[2], y.dim[1], a->in[STATE].data ? a->in[STATE].shape.dim[1] : 0 };
}

static int64_t start_of(const struct args *a, const struct sizes *s, int64_t b, int64_t position)
{
    return ints(&a->in[START])[b * s->seq + position - s->pos];
}

/* Part `part` of c or z of a position, which may be one before those of this call. */
static const real *row_at(const struct args *a, const struct sizes *s, int which, int64_t b, int64_t position,
                          int64_t part, real *buffer)
{
    int64_t first = part * s->width;
    if (position >= s->pos)
        return row_read(&a->in[which], (b * s->seq + position - s->pos) * s->row + first, s->width, buffer);
    return reals(&a->in[STATE]) + (b * s->ring + position % s->ring) * 2 * s->row + which * s->row + first;
}

/* z + bias of a position that is number j of its window. */
static void read_logits(const struct args *a, const struct sizes *s, int64_t b, int64_t position, int64_t part,
                        int64_t j, real *z)
{
    real buffer[s->width];
    const real *row = row_at(a, s, Z, b, position, part, buffer),
               *bias = a->in[BIAS].data ? reals(&a->in[BIAS]) + j * s->row + part * s->width : NULL;
    for (int64_t w = 0; w < s->width; w++) z[w] = row[w] + (bias ? bias[w] : 0);
}

/* The entry of the window from position `begin` on, of a document from `start`. */
static void pool(const struct args *a, const struct sizes *s, int64_t b, int64_t begin, int64_t start, real *restrict y,
                 real *restrict lse)
{
    int64_t n = s->width, first = s->parts == 1 || begin == start ? begin : begin - s->m;
    real top[n], sum[n], z[n], buffer[n];
    for (int64_t w = 0; w < n; w++) top[w] = -INFINITY, sum[w] = y[w] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t p = first; p < begin + s->m; p++) {
            int64_t part = s->parts == 2 && p >= begin;
            read_logits(a, s, b, p, part, (p - start) % s->m, z);
            const real *c = row_at(a, s, C, b, p, part, buffer);
            for (int64_t w = 0; w < n && pass == 0; w++) top[w] = z[w] > top[w] || isnan(z[w]) ? z[w] : top[w];
            for (int64_t w = 0; w < n && pass == 1; w++) {
                real weight = vec_exp(z[w] - top[w]);
                sum[w] += weight;
                y[w] += weight * c[w];
            }
        }
    for (int64_t w = 0; w < n; w++) y[w] /= sum[w], lse[w] = top[w] + vec_log(sum[w]);
}

/* Where the window begins that this call completes and that lies at `slot`: -1 if there is none. */
static int64_t begin_of(const struct args *a, const struct sizes *s, int64_t b, int64_t slot)
{
    for (int64_t begin = slot * s->m; begin < (slot + 1) * s->m; begin++) {
        int64_t last = begin + s->m - 1;
        if (last < s->pos || last >= s->pos + s->seq) continue;
        int64_t start = start_of(a, s, b, last);
        if (start >= 0 && start <= begin && (begin - start) % s->m == 0) return begin;
    }
    return -1;
}

/* Slots [from, to), which count through all sequences. */
static void slots(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    real y_buffer[s.width];
    for (int64_t at = from; at < to; at++) {
        int64_t b = at / s.entries, slot = at % s.entries, begin = begin_of(a, &s, b, slot);
        int64_t start = begin < 0 ? start_of(a, &s, b, s.pos) : start_of(a, &s, b, begin + s.m - 1);
        int64_t number = s.ring || begin >= 0 ? slot - start / s.m : 0;
        real *kept = s.ring ? reals(&a->in[ENTRIES]) + at * s.width : NULL, *lse = reals(&a->save[LSE]) + at * s.width,
             *y = row_write(&a->out[Y], at * s.width, s.width, y_buffer);
        ints(&a->out[SHIFTED])[at] = (int32_t)(slot - (number > 0 ? number * s.m : 0));
        if (begin < 0) memset(lse, 0, (size_t)s.width * sizeof *lse);
        if (begin >= 0) pool(a, &s, b, begin, start, y, lse);
        else if (kept) memcpy(y, kept, (size_t)s.width * sizeof *y);
        else memset(y, 0, (size_t)s.width * sizeof *y);
        if (kept && begin >= 0) memcpy(kept, y, (size_t)s.width * sizeof *y);
        row_done(&a->out[Y], at * s.width, s.width, y);
    }
}

/* The ring takes the last rows, once all windows have been read. */
static void keep_rows(const struct args *a, const struct sizes *s)
{
    real buffer[s->row];
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t t = s->seq > s->ring ? s->seq - s->ring : 0; t < s->seq; t++)
            for (int which = C; which <= Z; which++)
                memcpy(reals(&a->in[STATE]) + (b * s->ring + (s->pos + t) % s->ring) * 2 * s->row + which * s->row,
                       row_read(&a->in[which], (b * s->seq + t) * s->row, s->row, buffer),
                       (size_t)s->row * sizeof *buffer);
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    ints(&a->out[ZERO])[0] = 0;
    each(a, s.batch * s.entries, 1, slots);
    if (s.ring) keep_rows(a, &s);
}

/* ---- backward:  dc = e^(z + bias - lse) dy;  dz = (c - y) dc;  dbias = sum of dz over windows ---- */

/* Of a part of a position, in which entry of this call it is: -1 if in none. */
static int64_t entry_of(const struct args *a, const struct sizes *s, int64_t b, int64_t p, int64_t part)
{
    int64_t start = start_of(a, s, b, p), number = (p - start) / s->m + (s->parts == 2 && part == 0),
            last = start + (number + 1) * s->m - 1;
    if (p < start || last >= s->pos + s->seq || start_of(a, s, b, last) != start) return -1;
    return b * s->entries + start / s->m + number;
}

/* dc and dz of a part of token t; false where it is in no entry. */
static bool slope(const struct args *a, const struct sizes *s, int64_t b, int64_t t, int64_t part, real *restrict dc,
                  real *restrict dz)
{
    int64_t n = s->width, p = s->pos + t, entry = entry_of(a, s, b, p, part);
    if (entry < 0) return false;
    real z[n], c_buffer[n], y_buffer[n], dy_buffer[n];
    const real *c = row_at(a, s, C, b, p, part, c_buffer), *y = row_read(&a->out[Y], entry * n, n, y_buffer),
               *dy = row_read(&a->dout[Y], entry * n, n, dy_buffer), *lse = reals(&a->save[LSE]) + entry * n;
    read_logits(a, s, b, p, part, (p - start_of(a, s, b, p)) % s->m, z);
    for (int64_t w = 0; w < n; w++) {
        dc[w] = vec_exp(z[w] - lse[w]) * dy[w];
        dz[w] = (c[w] - y[w]) * dc[w];
    }
    return true;
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    real slopes[2][s.width], buffer[s.width];
    for (int64_t token = from; token < to; token++)
        for (int64_t part = 0; part < s.parts; part++) {
            bool some = slope(a, &s, token / s.seq, token % s.seq, part, slopes[C], slopes[Z]);
            for (int which = C; which <= Z; which++) {
                int64_t at = token * s.row + part * s.width;
                if (!a->din[which].data) continue;
                real *d = row_add(&a->din[which], at, s.width, a->beta[which], buffer);
                for (int64_t w = 0; some && w < s.width; w++) d[w] += slopes[which][w];
                row_done(&a->din[which], at, s.width, d);
            }
        }
}

/* dbias of places [from, to) of a window. */
static void places(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    real dc[s.width], dz[s.width];
    double sum[s.row];
    for (int64_t j = from; j < to; j++) {
        real *d = reals(&a->din[BIAS]) + j * s.row;
        memset(sum, 0, sizeof sum);
        for (int64_t token = 0; token < s.batch * s.seq; token++) {
            int64_t b = token / s.seq, t = token % s.seq, back = s.pos + t - start_of(a, &s, b, s.pos + t);
            for (int64_t part = 0; back >= 0 && back % s.m == j && part < s.parts; part++)
                if (slope(a, &s, b, t, part, dc, dz))
                    for (int64_t w = 0; w < s.width; w++) sum[part * s.width + w] += (double)dz[w];
        }
        for (int64_t i = 0; i < s.row; i++) d[i] = keep(a->beta[BIAS], d[i]) + (real)sum[i];
    }
}

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    if (a->din[C].data || a->din[Z].data) each(a, s.batch * s.seq, rows_grain(s.row), tokens);
    if (a->din[BIAS].data) each(a, s.m, 1, places);
}

KERNELS(pool_windows) = { forward, backward, NULL };

ATTRIBUTES(pool_windows, struct pool_windows_attr,
    INT(struct pool_windows_attr, m, NEEDED, 1, INT32_MAX, "tokens", "of a window"),
    BOOL(struct pool_windows_attr, overlap, 0, "an entry is also of the first half of the previous window's rows"));
OP(pool_windows, .inputs = "c[T,N] z[T,N] bias?:REAL[M,N] start:I32[B,S] pos?:I32[1] state?*:REAL[B,R,P] "
             "entries?*:REAL[B,E,W]",
   .outputs = "y[B,E,W] shifted:I32[B,E] zero:I32[1]",
   .about = "entries of windows of m tokens, counted from where a document begins: per channel the mean of c weighed "
          "by softmax(z + bias), whose rows are of a token's place in its window. The window of positions from p on "
          "lies at p / m; where none does, 0. With overlap N = 2 W. shifted, zero: start and pos with which entry i of "
          "a document has position i m. state: a ring of c and z of the last positions; entries: those before, and "
          "these; pos may go back by up to R - (m - 1), with overlap R - (2 m - 1)",
   ATTR(pool_windows), .infer = infer, .cost = cost, .gradient = true, .no_grad = 1u << STATE | 1u << ENTRIES,
   .reads_in = 1u << C | 1u << Z | 1u << BIAS | 1u << START | 1u << POS, .reads_out = 1u << Y);
