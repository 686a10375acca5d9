/* One set of keys of two: those of the last tokens, and entries of windows (DeepSeek-AI 2026, V4); and which of them a
   token looks at, as op attention takes it. A token sees `window` positions, its own included, of its document, and
   the entries of its document's windows that end with it or before, all or those that were chosen. While decoding, of
   cached keys the last window + S - 1 are taken. Memory bounds it. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/seen.h"
#include "cpu/vec_math.h"

enum { K, ENTRIES, CHOSEN, START, POS, PLACE };
enum { KEYS, INDEX };                                       /* outputs */

VERB struct node *join_pooled(struct graph *g, struct node *k, struct node *entries, struct node *chosen,
                              struct node *start, struct node *pos, struct node *place, int64_t window, int64_t m)
{
    struct join_pooled_attr at = { window, m };
    return graph_emit(g, &op_join_pooled, &at, k, entries, chosen, start, pos, place);
}

/* Positions of which keys are taken. */
static int64_t taken(struct shape k, struct shape start, bool cached, int64_t window)
{
    int64_t last = window + start.dim[1] - 1;
    return !cached ? start.dim[1] : last < k.dim[1] ? last : k.dim[1];
}

static int infer(struct node *n, struct err *e)
{
    const struct join_pooled_attr *at = n->attr;
    char text[64];
    struct shape k = n->in[K]->shape, start = n->in[START]->shape, entries = n->in[ENTRIES]->shape;
    bool cached = n->in[POS];
    if (k.rank != (cached ? 3 : 2))
        return err_set(e, "keys %s must be %s", shape_text(k, text), cached ? "[B,C,W]" : "[T,W]");
    if (cached && k.dim[1] < start.dim[1]) return err_set(e, "keys %s have no room", shape_text(k, text));
    int64_t rows = taken(k, start, cached, at->window), all = n->in[CHOSEN] ? shape_last(n->in[CHOSEN]->shape)
                                                                            : entries.dim[1];
    node_value(n, n->in[K]->dtype, SHAPE(start.dim[0], rows + entries.dim[1], entries.dim[2]));
    node_output(n, DTYPE_I32, SHAPE(shape_count(start), at->window + all));
    return 0;
}

/* Position p is row p - ahead of k. rows: keys of tokens, from position `first` on; width: values of a key; all:
   entries that a token may look at. */
struct sizes { int64_t batch, seq, pos, ahead, keys, rows, first, entries, width, all, window, m; };
static struct sizes sizes_of(const struct args *a)
{
    const struct join_pooled_attr *at = a->attr;
    struct shape k = a->in[K].shape, start = a->in[START].shape, entries = a->in[ENTRIES].shape;
    bool cached = a->in[POS].data;
    struct sizes s = { .batch = start.dim[0], .seq = start.dim[1], .pos = cached ? ints(&a->in[POS])[0] : 0,
                       .keys = cached ? k.dim[1] : start.dim[1], .rows = taken(k, start, cached, at->window),
                       .entries = entries.dim[1], .width = entries.dim[2], .window = at->window, .m = at->m };
    s.all = shape_last(a->out[INDEX].shape) - s.window;
    s.first = cached ? s.pos + s.seq - s.rows : 0;
    if (a->in[PLACE].data) s.ahead = s.pos - ints(&a->in[PLACE])[0];
    return s;
}

static void copy_row(const struct tensor *to, int64_t at, const struct tensor *from, int64_t source, int64_t width)
{
    real buffer[width], y_buffer[width], *y = row_write(to, at * width, width, y_buffer);
    if (source < 0) memset(y, 0, (size_t)width * sizeof *y);
    else memcpy(y, row_read(from, source * width, width, buffer), (size_t)width * sizeof *y);
    row_done(to, at * width, width, y);
}

/* Keys [from, to), which count through all sequences. */
static void keys(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (int64_t at = from; at < to; at++) {
        int64_t b = at / (s.rows + s.entries), i = at % (s.rows + s.entries), row = s.first + i - s.ahead;
        if (i >= s.rows) copy_row(&a->out[KEYS], at, &a->in[ENTRIES], b * s.entries + i - s.rows, s.width);
        else copy_row(&a->out[KEYS], at, &a->in[K], row < 0 ? -1 : b * s.keys + row, s.width);
    }
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    for (int64_t t = from; t < to; t++) {
        int64_t start = ints(&a->in[START])[t], here = s.pos + t % s.seq;
        int32_t *index = ints(&a->out[INDEX]) + t * (s.window + s.all);
        struct seen windows = pooled_windows(here, start, s.m);
        for (int64_t j = 0; j < s.window; j++) index[j] = here - j < start ? -1 : (int32_t)(here - j - s.first);
        for (int64_t e = 0; e < s.all; e++) {
            int64_t slot = a->in[CHOSEN].data ? ints(&a->in[CHOSEN])[t * s.all + e] : e;
            bool sees = slot >= windows.first && slot < windows.last;
            index[s.window + e] = sees ? (int32_t)(s.rows + slot) : -1;
        }
    }
}

static void forward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    each(a, s.batch * (s.rows + s.entries), rows_grain(s.width), keys);
    each(a, s.batch * s.seq, rows_grain(s.window + s.all), tokens);
}

/* Rows of which = K or ENTRIES get what came to their copies, where they have one. */
static void give_back(const struct args *a, int which, int64_t from, int64_t to)
{
    struct sizes s = sizes_of(a);
    int64_t n = which == K ? s.keys : s.entries, first = which == K ? s.first - s.ahead : 0,
            copies = which == K ? s.rows : n;
    real buffer[s.width], d_buffer[s.width];
    for (int64_t at = from; at < to; at++) {
        int64_t copy = at % n - first, row = at / n * (s.rows + s.entries) + (which == K ? 0 : s.rows) + copy;
        bool copied = copy >= 0 && copy < copies;
        const real *dy = copied ? row_read(&a->dout[KEYS], row * s.width, s.width, buffer) : NULL;
        real *d = row_add(&a->din[which], at * s.width, s.width, a->beta[which], d_buffer);
        for (int64_t w = 0; dy && w < s.width; w++) d[w] += dy[w];
        row_done(&a->din[which], at * s.width, s.width, d);
    }
}
static void to_keys(const struct args *a, int64_t from, int64_t to) { give_back(a, K, from, to); }
static void to_entries(const struct args *a, int64_t from, int64_t to) { give_back(a, ENTRIES, from, to); }

static void backward(const struct args *a)
{
    struct sizes s = sizes_of(a);
    if (a->din[K].data) each(a, s.batch * s.keys, rows_grain(s.width), to_keys);
    if (a->din[ENTRIES].data) each(a, s.batch * s.entries, rows_grain(s.width), to_entries);
}

KERNELS(join_pooled) = { forward, backward, NULL };

ATTRIBUTES(join_pooled, struct join_pooled_attr,
    INT(struct join_pooled_attr, window, NEEDED, 1, INDEX_MOST, "tokens",
        "how far back a token sees tokens, itself included"),
    INT(struct join_pooled_attr, m, NEEDED, 1, INT32_MAX, "tokens", "of a window that is one entry"));
OP(join_pooled, .inputs = "k[T,W|B,C,W] entries[B,E,W] chosen?:I32[T,X] start:I32[B,S] pos?:I32[1] place?:I32[1]",
   .outputs = "keys[B,_,W] index:I32[T,_]",
   .about = "keys of tokens, of a cache the last window + S - 1 (place: where in it the first token is; else pos), "
          "then entries as pool_windows lays them; and for each token which of these it sees: first the `window` "
          "positions up to its own, nearest first, then entries of its document's windows that end with it or before, "
          "all or those that are `chosen`; -1 where there is none",
   ATTR(join_pooled), .infer = infer, .gradient = true, .reads_in = 1u << POS | 1u << PLACE);
