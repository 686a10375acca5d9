/* A short causal convolution of each channel with its own taps: z[t] = sum_j w[kw-1-j] x[t-j d], d the dilation, over
   the positions of t's document; y = z, or silu(z) = z sigmoid(z). Before it come, in decoding, the inputs that a ring
   keeps. */
#define VERBS "graph/ops/tokens.h"
#include "op.h"
#include "cpu/vec_math.h"

enum { X, W, START, POS, STATE };
/* COLUMNS: channels that a task walks along a sequence. REACH: tokens from the first tap to the last. RUN: tokens whose
   part of dw is summed in reals, then in double. */
enum { COLUMNS = 256, REACH = 64, RUN = 16 };

VERB struct node *conv1d(struct graph *g, struct node *x, struct node *w, struct node *start, struct node *pos,
                         struct node *state, int64_t dilation, bool silu)
{
    struct conv1d_attr at = { dilation, silu };
    return graph_emit(g, &op_conv1d, &at, x, w, start, pos, state);
}

/* How many tokens before its own one reads. */
static int64_t reach_of(const void *attr, int64_t taps)
{
    return (taps - 1) * ((const struct conv1d_attr *)attr)->dilation;
}

static int check_state(const struct node *n, int64_t reach, struct err *e)
{
    char text[64];
    if (!n->in[POS] != !n->in[STATE]) return err_set(e, "pos and state go together");
    if (!n->in[STATE]) return 0;
    struct shape state = n->in[STATE]->shape;
    if (state.dim[1] < reach)
        return err_set(e, "state %s keeps %lld positions, the taps need %lld", shape_text(state, text),
                       (long long)state.dim[1], (long long)reach);
    return 0;
}

static int infer(struct node *n, struct err *e)
{
    struct shape x = n->in[X]->shape, w = n->in[W]->shape, start = n->in[START]->shape;
    int64_t reach = reach_of(n->attr, w.dim[1]);
    if (reach >= REACH)
        return err_set(e, "%lld taps over %lld tokens: at most %d", (long long)w.dim[1], (long long)reach + 1, REACH);
    if (check_state(n, reach, e) != 0) return -1;
    node_value(n, n->in[X]->dtype, x);
    if (n->in[STATE] && reach > 0) node_save(n, DTYPE_REAL, SHAPE(start.dim[0], reach, x.dim[1]));
    node_work(n, DTYPE_U8, SHAPE(start.dim[0], w.dim[1], x.dim[1], (int64_t)sizeof(double)));    /* sums of dw */
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * (double)shape_count(n->shape) * (double)shape_last(n->in[W]->shape);
}

/* Columns [first, first + n) of one sequence. */
struct strip { int64_t batch, seq, width, first, n, taps, dilation, reach, before; };

static int64_t strips(int64_t width) { return blocks_of(width, COLUMNS); }

static struct strip strip_of(const struct args *a, int64_t number)
{
    int64_t width = a->in[X].shape.dim[1], first = number % strips(width) * COLUMNS, taps = a->in[W].shape.dim[1],
            before = a->in[POS].data ? ints(&a->in[POS])[0] : 0;
    INVARIANT(before >= 0, "conv1d: position %lld", (long long)before);
    return (struct strip){ number / strips(width), a->in[START].shape.dim[1], width, first,
                           width - first < COLUMNS ? width - first : COLUMNS, taps,
                           ((const struct conv1d_attr *)a->attr)->dilation, reach_of(a->attr, taps), before };
}

static int64_t at(const struct strip *s, int64_t t) { return (s->batch * s->seq + t) * s->width + s->first; }
static int64_t start_of(const struct args *a, const struct strip *s, int64_t t)
{
    return ints(&a->in[START])[s->batch * s->seq + t];
}

/* Taps of the strip, [kw, n], the newest first. */
static void read_taps(const struct args *a, const struct strip *s, real *taps)
{
    real buffer[REACH];
    for (int64_t i = 0; i < s->n; i++) {
        const real *w = row_read(&a->in[W], (s->first + i) * s->taps, s->taps, buffer);
        for (int64_t j = 0; j < s->taps; j++) taps[j * s->n + i] = w[s->taps - 1 - j];
    }
}

/* Row i of the inputs before the chunk, the earliest first. */
static real *past(const struct args *a, const struct strip *s, int64_t i)
{
    return reals(&a->save[0]) + (s->batch * s->reach + i) * s->width + s->first;
}

static real *entry(const struct args *a, const struct strip *s, int64_t position)
{
    int64_t ring = a->in[STATE].shape.dim[1];
    return reals(&a->in[STATE]) + (s->batch * ring + position % ring) * s->width + s->first;
}

/* What tap j of token t reads, or NULL where that is outside of t's document. */
static const real *input(const struct args *a, const struct strip *s, int64_t t, int64_t j, real *buffer)
{
    int64_t from = t - j * s->dilation;
    if (s->before + from < start_of(a, s, t)) return NULL;
    return from >= 0 ? row_read(&a->in[X], at(s, from), s->n, buffer) : past(a, s, s->reach + from);
}

/* z of token t, and the rows that it is made of. */
static void convolve(const struct args *a, const struct strip *s, int64_t t, const real *taps, const real **row,
                     real *buffer, real *restrict z)
{
    memset(z, 0, (size_t)s->n * sizeof *z);
    for (int64_t j = 0; j < s->taps; j++) {
        const real *restrict x = row[j] = input(a, s, t, j, buffer + j * s->n), *restrict w = taps + j * s->n;
        for (int64_t i = 0; x && i < s->n; i++) z[i] += w[i] * x[i];
    }
}

/* The past is read before the ring takes the chunk's last inputs. */
static void keep_past(const struct args *a, const struct strip *s)
{
    for (int64_t i = 0; i < s->reach; i++) {
        int64_t position = s->before - s->reach + i;
        if (position < 0) memset(past(a, s, i), 0, (size_t)s->n * sizeof(real));
        else memcpy(past(a, s, i), entry(a, s, position), (size_t)s->n * sizeof(real));
    }
}

static void keep_inputs(const struct args *a, const struct strip *s)
{
    int64_t ring = a->in[STATE].shape.dim[1];
    real buffer[COLUMNS];
    for (int64_t t = s->seq > ring ? s->seq - ring : 0; t < s->seq; t++)
        memcpy(entry(a, s, s->before + t), row_read(&a->in[X], at(s, t), s->n, buffer), (size_t)s->n * sizeof(real));
}

static void forward_strips(const struct args *a, int64_t from, int64_t to)
{
    bool silu = ((const struct conv1d_attr *)a->attr)->silu;
    for (; from < to; from++) {
        struct strip s = strip_of(a, from);
        real taps[s.taps * s.n], buffer[s.taps * s.n], y_buffer[COLUMNS];
        const real *row[REACH];
        read_taps(a, &s, taps);
        if (a->in[STATE].data) keep_past(a, &s);
        for (int64_t t = 0; t < s.seq; t++) {
            real *restrict y = row_write(&a->out[0], at(&s, t), s.n, y_buffer);
            convolve(a, &s, t, taps, row, buffer, y);
            for (int64_t i = 0; silu && i < s.n; i++) y[i] *= vec_sigmoid(y[i]);
            row_done(&a->out[0], at(&s, t), s.n, y);
        }
        if (a->in[STATE].data) keep_inputs(a, &s);
    }
}

/* dz = dy silu'(z), silu' = p + z p (1 - p) with p = sigmoid(z). */
static void through_silu(int64_t n, const real *restrict z, real *restrict dz)
{
    for (int64_t i = 0; i < n; i++) {
        real p = vec_sigmoid(z[i]);
        dz[i] *= p + z[i] * p * (1 - p);
    }
}

/* dx[t] = sum_j w[kw-1-j] dz[t+j d] over the tokens that read t; dz: of the last reach + 1. */
static void input_gradient(const struct args *a, const struct strip *s, int64_t t, const real *taps, const real *dz)
{
    real buffer[COLUMNS], *restrict dx = row_add(&a->din[X], at(s, t), s->n, a->beta[X], buffer);
    for (int64_t j = 0, by = t; j < s->taps && by < s->seq; j++, by += s->dilation) {
        if (s->before + t < start_of(a, s, by)) continue;
        const real *restrict w = taps + j * s->n, *restrict d = dz + by % (s->reach + 1) * s->n;
        for (int64_t i = 0; i < s->n; i++) dx[i] += w[i] * d[i];
    }
    row_done(&a->din[X], at(s, t), s->n, dx);
}

static void add_products(int64_t n, const real *restrict x, const real *restrict y, real *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] += x[i] * y[i];
}

/* Moves the sums of a run to those of the strip. */
static void add_run(const struct strip *s, real *restrict run, double *sums)
{
    for (int64_t j = 0; j < s->taps; j++)
        for (int64_t i = 0; i < s->n; i++) sums[j * s->width + i] += (double)run[j * s->n + i];
    memset(run, 0, (size_t)(s->taps * s->n) * sizeof *run);
}

/* A strip from its last token back: dz of the tokens that the next ones need, and its part of dw[kw-1-j] = sum_t dz[t]
   x[t-j d]. */
static void backward_strips(const struct args *a, int64_t from, int64_t to)
{
    bool silu = ((const struct conv1d_attr *)a->attr)->silu;
    for (; from < to; from++) {
        struct strip s = strip_of(a, from);
        real taps[s.taps * s.n], buffer[s.taps * s.n], dz[(s.reach + 1) * s.n], run[s.taps * s.n], z[COLUMNS],
             dy_buffer[COLUMNS];
        const real *row[REACH];
        double *sums = (double *)a->work[0].data + s.batch * s.taps * s.width + s.first;
        for (int64_t j = 0; j < s.taps; j++) memset(sums + j * s.width, 0, (size_t)s.n * sizeof *sums);
        memset(run, 0, (size_t)(s.taps * s.n) * sizeof *run);
        read_taps(a, &s, taps);
        for (int64_t t = s.seq - 1; t >= 0; t--) {
            real *restrict d = dz + t % (s.reach + 1) * s.n;
            memcpy(d, row_read(&a->dout[0], at(&s, t), s.n, dy_buffer), (size_t)s.n * sizeof *d);
            convolve(a, &s, t, taps, row, buffer, z);
            if (silu) through_silu(s.n, z, d);
            for (int64_t j = 0; j < s.taps; j++) if (row[j]) add_products(s.n, d, row[j], run + j * s.n);
            if (t % RUN == 0) add_run(&s, run, sums);
            if (a->din[X].data) input_gradient(a, &s, t, taps, dz);
        }
    }
}

/* Sums over sequences, in their order. */
static void add_taps(const struct args *a, int64_t from, int64_t to)
{
    int64_t taps = a->in[W].shape.dim[1], width = a->in[X].shape.dim[1], batch = a->in[START].shape.dim[0];
    const double *sums = a->work[0].data;
    real buffer[REACH];
    for (int64_t d = from; d < to; d++) {
        real *dw = row_add(&a->din[W], d * taps, taps, a->beta[W], buffer);
        for (int64_t j = 0; j < taps; j++) {
            double sum = 0;
            for (int64_t b = 0; b < batch; b++) sum += sums[(b * taps + j) * width + d];
            dw[taps - 1 - j] += (real)sum;
        }
        row_done(&a->din[W], d * taps, taps, dw);
    }
}

static void forward(const struct args *a)
{
    each(a, a->in[START].shape.dim[0] * strips(a->in[X].shape.dim[1]), 1, forward_strips);
}

static void backward(const struct args *a)
{
    each(a, a->in[START].shape.dim[0] * strips(a->in[X].shape.dim[1]), 1, backward_strips);
    if (a->din[W].data) each(a, a->in[X].shape.dim[1], COLUMNS, add_taps);
}

KERNELS(conv1d) = { forward, backward, NULL };

ATTRIBUTES(conv1d, struct conv1d_attr,
    INT(struct conv1d_attr, dilation, 1, 1, REACH, "tokens", "from tap to tap"),
    BOOL(struct conv1d_attr, silu, NEEDED, "x s(x) of the sum, s the sigmoid"));
OP(conv1d, .inputs = "x[T,D] w[D,K] start:I32[B,S] pos?:I32[1] state?*:REAL[B,R,D]",
   .outputs = "y[T,D]",
   .about = "sum over j of w[:,K-1-j] x[t - j dilation] within the document, then silu if asked. state: a ring of the "
          "last inputs, that of position p in entry p mod R; pos may go back by up to R - (K-1) dilation",
   ATTR(conv1d), .infer = infer, .cost = cost, .gradient = true, .no_grad = 1u << STATE,
   .reads_in = 1u << X | 1u << W | 1u << START | 1u << POS, .factors = 1u << X | 1u << W);
