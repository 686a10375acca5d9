/* -log softmax(h w^T)[target], and the log-sum-exp. Logits live for a chunk of tokens, so the cost in memory does not
   grow with the batch. Joint makes them once and puts their gradient in their place; backward alone makes them anew. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "cpu/gemm.h"
#include "cpu/vec_math.h"

#include <math.h>

enum { H, W, TARGET };
enum { NLL, LSE, HIT };                                     /* outputs */
enum { LOGITS };                                            /* work: REAL [chunk,V] */
/* a chunk: CHUNK tokens, or more while that is no more memory */
enum { CHUNK = 256, MOST_LOGITS = 1 << 24, GRAIN = 8 };

VERB struct node *cross_entropy(struct graph *g, struct node *h, struct node *w, struct node *target, double softcap)
{
    struct cross_entropy_attr at = { softcap };
    return graph_emit(g, &op_cross_entropy, &at, h, w, target);
}

/* Tokens in a chunk: each chunk reads and adds to the gradient of the whole matrix, so few are better than many. */
static int64_t chunk_of(int64_t tokens, int64_t vocab)
{
    int64_t most = MOST_LOGITS / vocab > CHUNK ? MOST_LOGITS / vocab : CHUNK;
    return blocks_of(tokens, blocks_of(tokens, most));
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    struct shape rows = n->in[H]->shape, weight = n->in[W]->shape;
    node_value(n, DTYPE_REAL, SHAPE(rows.dim[0]));
    node_output(n, DTYPE_REAL, SHAPE(rows.dim[0]));
    node_output(n, DTYPE_REAL, SHAPE(rows.dim[0]));
    node_work(n, DTYPE_REAL, SHAPE(chunk_of(rows.dim[0], weight.dim[0]), weight.dim[0]));
    return 0;
}

static void cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * (double)shape_count(n->in[H]->shape) * (double)n->in[W]->shape.dim[0];
}

/* Tokens [first, first + n) and their logits. */
struct chunk { int64_t first, n, width, vocab; struct matrix h, w, logits; bool narrow; real cap; };

static struct chunk chunk_at(const struct args *a, int64_t first)
{
    int64_t tokens = a->in[H].shape.dim[0], most = a->work[LOGITS].shape.dim[0];
    struct chunk c = { .first = first, .n = tokens - first < most ? tokens - first : most,
                       .width = a->in[H].shape.dim[1], .vocab = a->in[W].shape.dim[0] };
    c.h = matrix_at(matrix_of(&a->in[H], c.width), first, 0);
    c.w = matrix_of(&a->in[W], c.width);
    c.logits = matrix_of(&a->work[LOGITS], c.vocab);
    c.narrow = a->in[H].format == FORMAT_BF16;
    c.cap = (real)((const struct cross_entropy_attr *)a->attr)->softcap;
    return c;
}

static void make_logits(const struct args *a, const struct chunk *c)
{
    gemm(a, &(struct gemm){ .m = c->n, .n = c->vocab, .k = c->width, .a = c->h, .b = matrix_transposed(c->w),
                            .c = c->logits, .narrow = c->narrow });
}

static void each_row(const struct args *a, const struct chunk *c,
                     void (*body)(const struct args *a, int64_t from, int64_t to))
{
    struct args with = *a;
    with.attr = c;
    each(&with, c->n, GRAIN, body);
}

static int32_t target_of(const struct args *a, const struct chunk *c, int64_t t)
{
    int32_t target = ints(&a->in[TARGET])[t];
    INVARIANT(target >= 0 && target < c->vocab, "target %d of token %lld, the vocabulary has %lld", target,
              (long long)t, (long long)c->vocab);
    return target;
}

/* cap tanh(x / cap) */
static real capped(real x, real cap) { return cap * vec_tanh(x / cap); }

/* Of a row of logits x, which becomes e^(x - top). */
struct score { double sum; real top, chosen; bool hit; };

static struct score score_of(const struct args *a, const struct chunk *c, int64_t i)
{
    real *x = (real *)c->logits.data + i * c->vocab;
    for (int64_t v = 0; c->cap != 0 && v < c->vocab; v++) x[v] = capped(x[v], c->cap);
    int32_t target = target_of(a, c, c->first + i), best = 0;
    struct score s = { .top = row_top(x, c->vocab), .chosen = x[target] };
    while (best < target && x[best] != s.top) best++;
    s.hit = best == target && s.chosen == s.top;
    s.sum = row_exp(x, c->vocab, 1, s.top, 1);
    return s;
}

/* lse = top + log sum e^(x - top);  nll = lse - x[target] */
static void report(const struct args *a, int64_t t, struct score s)
{
    double lse = log(s.sum);
    reals(&a->out[NLL])[t] = (real)(lse - (double)(s.chosen - s.top));
    reals(&a->out[LSE])[t] = (real)(lse + (double)s.top);
    reals(&a->out[HIT])[t] = s.hit;
}

static real incoming(const struct tensor *dout, int64_t t) { return dout->data ? reals(dout)[t] : 0; }

/* The slope of the cap where it gives z, 1 - tanh^2. */
static real slope(real z, real cap) { return 1 - z / cap * (z / cap); }

/* dx = dnll (p - onehot) + dlse p, with p = e^(x - top) / sum; of a capped logit times the slope there, which
   e^(x - top) tells: where that is 0, so is dx. */
static void differ(const struct args *a, const struct chunk *c, int64_t i, struct score s)
{
    int64_t t = c->first + i;
    int32_t target = target_of(a, c, t);
    real *restrict x = (real *)c->logits.data + i * c->vocab, dnll = incoming(&a->dout[NLL], t), cap = c->cap;
    real by = (real)((double)(dnll + incoming(&a->dout[LSE], t)) / s.sum), whole = x[target];
    if (cap == 0) for (int64_t v = 0; v < c->vocab; v++) x[v] *= by;
    else for (int64_t v = 0; v < c->vocab; v++) x[v] *= by * slope(s.top + vec_log(x[v] > 0 ? x[v] : 1), cap);
    if (cap == 0) x[target] -= dnll;
    else x[target] = (by * whole - dnll) * slope(s.chosen, cap);
}

static void forward_rows(const struct args *a, int64_t from, int64_t to)
{
    const struct chunk *c = a->attr;
    for (int64_t i = from; i < to; i++) report(a, c->first + i, score_of(a, c, i));
}

static void backward_rows(const struct args *a, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) differ(a, a->attr, i, score_of(a, a->attr, i));
}

static void joint_rows(const struct args *a, int64_t from, int64_t to)
{
    const struct chunk *c = a->attr;
    for (int64_t i = from; i < to; i++) {
        struct score s = score_of(a, c, i);
        report(a, c->first + i, s);
        differ(a, c, i, s);
    }
}

static void forward(const struct args *a)
{
    struct chunk c;
    for (int64_t first = 0; first < a->in[H].shape.dim[0]; first += c.n) {
        c = chunk_at(a, first);
        make_logits(a, &c);
        each_row(a, &c, forward_rows);
    }
}

/* dh = dx w;  dw = dx^T h, chunk after chunk */
static void gradients(const struct args *a, void (*rows)(const struct args *a, int64_t from, int64_t to))
{
    struct chunk c;
    for (int64_t first = 0; first < a->in[H].shape.dim[0]; first += c.n) {
        c = chunk_at(a, first);
        make_logits(a, &c);
        each_row(a, &c, rows);
        if (a->din[H].data)
            gemm(a, &(struct gemm){ .m = c.n, .n = c.width, .k = c.vocab, .a = c.logits, .b = c.w,
                                    .c = matrix_at(matrix_of(&a->din[H], c.width), first, 0), .beta = a->beta[H],
                                    .narrow = c.narrow });
        if (a->din[W].data)
            gemm(a, &(struct gemm){ .m = c.vocab, .n = c.width, .k = c.n, .a = matrix_transposed(c.logits), .b = c.h,
                                    .c = matrix_of(&a->din[W], c.width), .beta = first ? 1 : a->beta[W],
                                    .narrow = c.narrow });
    }
}

static void backward(const struct args *a) { gradients(a, backward_rows); }
static void joint(const struct args *a) { gradients(a, joint_rows); }

KERNELS(cross_entropy) = { forward, backward, joint };

ATTRIBUTES(cross_entropy, struct cross_entropy_attr,
    REAL(struct cross_entropy_attr, softcap, 0, 0, HUGE_VAL, "", "largest logit; 0: no cap"));
OP(cross_entropy, .inputs = "h[T,D] w[V,D] target:I32[B,S]",
   .outputs = "loss:REAL[T] lse:REAL[T] hit:REAL[T]",
   .about = "-log p of the target, p = softmax of the logits x = h w^T, or softcap tanh(x / softcap); lse: log of the "
          "sum of exponentials; hit: 1 where the target has the largest logit",
   ATTR(cross_entropy), .infer = infer, .cost = cost, .gradient = true, .no_grad_out = 1u << HIT,
   .reads_in = 1u << H | 1u << W | 1u << TARGET, .joins = true, .packs = 1u << W, .factors = 1u << H | 1u << W);
