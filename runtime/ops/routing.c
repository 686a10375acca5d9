/* Routing: which experts a token takes (topk), what it thinks of them (pick) and gives them (scatter), how busy they
   are (load). */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "cpu/isa/vector.h"


enum { TOKENS = 256 };                                      /* a block */

/* ---- topk: the K largest keys of a row, largest first; ties go to the lower index, NaN comes last ---- */

struct topk_attr { int k; };

VERB struct node *topk(struct graph *g, struct node *key, int k)
{
    return graph_emit(g, &op_topk, &k, key);
}

static int topk_infer(struct node *n, struct err *e)
{
    int k = *(const int *)n->attr;
    int64_t tokens = n->in[0]->shape.dim[0], experts = n->in[0]->shape.dim[1];
    if (k > experts) return err_set(e, "k = %d, there are %lld keys to choose from", k, (long long)experts);
    node_value(n, DTYPE_I32, SHAPE(tokens, k));
    node_output(n, DTYPE_REAL, SHAPE(tokens));              /* margin */
    return 0;
}

/* LANES rows side by side, so that nothing branches. */
typedef __typeof__(__builtin_choose_expr(sizeof(real) == 8, (int64_t)0, (int32_t)0)) integer;    /* as wide as a real */
typedef integer indices __attribute__((vector_size(VECTOR_BYTES)));
#define CHOOSE(when, yes, no) (((indices)(yes) & (when)) | ((indices)(no) & ~(when)))     /* when: all bits or none */

/* The `kept` largest keys: a key goes down its column until it meets a smaller one and takes its place, and what it
   pushes out moves down. Later equals stay behind earlier ones. */
static void best_of(const vec *key, integer experts, int64_t kept, vec *best, indices *index)
{
    for (integer e = 0; e < experts; e++) {
        vec now = key[e];
        indices at = (indices){ 0 } + e, in = { 0 };
        for (int64_t j = 0; j < kept && j <= e; j++) {
            vec old = best[j];
            indices old_at = index[j];
            in |= j == e ? ~(indices){ 0 } : (now > old) | ((old != old) & (now == now));
            best[j] = (vec)CHOOSE(in, now, old);
            index[j] = CHOOSE(in, at, old_at);
            now = (vec)CHOOSE(in, old, now);
            at = CHOOSE(in, old_at, at);
        }
    }
}

static void topk_tokens(const struct args *a, int64_t from, int64_t to)
{
    int32_t experts = (int32_t)a->in[0].shape.dim[1], k = (int32_t)a->out[0].shape.dim[1],
            kept = k < experts ? k + 1 : k;
    vec key[experts], best[kept];
    indices index[kept];
    memset(key, 0, sizeof key);
    memset(best, 0, sizeof best);
    memset(index, 0, sizeof index);
    for (int64_t rows; from < to; from += rows) {
        rows = to - from < LANES ? to - from : LANES;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t e = 0; e < experts; e++) key[e][r] = reals(&a->in[0])[(from + r) * experts + e];
        best_of(key, experts, kept, best, index);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t j = 0; j < k; j++) ints(&a->out[0])[(from + r) * k + j] = (int32_t)index[j][r];
            reals(&a->out[1])[from + r] = kept > k ? best[k - 1][r] - best[k][r] : 0;
        }
    }
}

static void topk_forward(const struct args *a)
{
    each(a, a->in[0].shape.dim[0], TOKENS, topk_tokens);
}

KERNELS(topk) = { topk_forward, NULL, NULL };

ATTRIBUTES(topk, struct topk_attr,
    INT(struct topk_attr, k, NEEDED, 1, INT32_MAX, "", "how many"));
OP(topk, .inputs = "key:REAL[T,E]",
   .outputs = "index:I32[T,K] margin:REAL[T]",
   .about = "the K largest of a row, the largest first, ties to the lower index; margin: key K minus key K+1, 0 when "
          "K = E",
   ATTR(topk), .infer = topk_infer);

/* ---- pick: out[t,j] = x[t, index[t,j]], 0 where that is no column ---- */

VERB struct node *pick(struct graph *g, struct node *x, struct node *index)
{
    return graph_emit(g, &op_pick, NULL, x, index);
}

static int pick_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, n->in[1]->shape);
    return 0;
}

static bool is_column(int32_t index, int64_t columns) { return index >= 0 && index < columns; }

/* Of tokens [from, to): to [T,K] += x [T,E] at the index. */
static void take(const struct args *a, const struct tensor *x, const struct tensor *to, real beta, int64_t from,
                 int64_t end)
{
    int64_t experts = x->shape.dim[1], k = to->shape.dim[1];
    for (int64_t t = from; t < end; t++) {
        const int32_t *index = ints(&a->in[1]) + t * k;
        real *row = row_add(to, t * k, k, beta, NULL);
        for (int64_t j = 0; j < k; j++)
            if (is_column(index[j], experts)) row[j] += reals(x)[t * experts + index[j]];
    }
}

/* to [T,E] += x [T,K] at the index. */
static void put(const struct args *a, const struct tensor *x, const struct tensor *to, real beta, int64_t from,
                int64_t end)
{
    int64_t experts = to->shape.dim[1], k = x->shape.dim[1];
    for (int64_t t = from; t < end; t++) {
        const int32_t *index = ints(&a->in[1]) + t * k;
        real *row = row_add(to, t * experts, experts, beta, NULL);
        for (int64_t j = 0; j < k; j++)
            if (is_column(index[j], experts)) row[index[j]] += reals(x)[t * k + j];
    }
}

static void pick_rows(const struct args *a, int64_t from, int64_t to) { take(a, &a->in[0], &a->out[0], 0, from, to); }
static void pick_back(const struct args *a, int64_t from, int64_t to)
{
    put(a, &a->dout[0], &a->din[0], a->beta[0], from, to);
}

static void pick_forward(const struct args *a) { each(a, a->in[0].shape.dim[0], TOKENS, pick_rows); }
static void pick_backward(const struct args *a)
{
    if (a->din[0].data) each(a, a->in[0].shape.dim[0], TOKENS, pick_back);
}

KERNELS(pick) = { pick_forward, pick_backward, NULL };
OP(pick, .inputs = "x:REAL[T,E] index:I32[T,K]",
   .outputs = "y:REAL[T,K]",
   .about = "x at the index, 0 where that is no column",
   .infer = pick_infer, .gradient = true, .rows = 3, .reads_in = 1u << 1);

/* ---- scatter: out[t,e] = sum over the j with index[t,j] = e of value[t,j] ---- */

struct scatter_attr { int experts; };

VERB struct node *scatter(struct graph *g, struct node *value, struct node *index, int experts)
{
    return graph_emit(g, &op_scatter, &experts, value, index);
}

static int scatter_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(n->in[0]->shape.dim[0], *(const int *)n->attr));
    return 0;
}

static void scatter_rows(const struct args *a, int64_t from, int64_t to) { put(a, &a->in[0], &a->out[0], 0, from, to); }
static void scatter_back(const struct args *a, int64_t from, int64_t to)
{
    take(a, &a->dout[0], &a->din[0], a->beta[0], from, to);
}

static void scatter_forward(const struct args *a) { each(a, a->in[0].shape.dim[0], TOKENS, scatter_rows); }
static void scatter_backward(const struct args *a)
{
    if (a->din[0].data) each(a, a->in[0].shape.dim[0], TOKENS, scatter_back);
}

KERNELS(scatter) = { scatter_forward, scatter_backward, NULL };

ATTRIBUTES(scatter, struct scatter_attr,
    INT(struct scatter_attr, experts, NEEDED, 1, INT32_MAX, "", "columns of the result"));
OP(scatter, .inputs = "value:REAL[T,K] index:I32[T,K]",
   .outputs = "y:REAL[T,E]",
   .about = "of each expert the value where it is chosen, else 0; what is no column goes nowhere",
   ATTR(scatter), .infer = scatter_infer, .gradient = true, .rows = 3, .rows_back = true,
   .reads_in = 1u << 1);

/* ---- load: E n_i / sum n, 1 when balanced; all 0 when nothing was routed ---- */

VERB struct node *load(struct graph *g, struct node *counts)
{
    return graph_emit(g, &op_load, NULL, counts);
}

static double count_at(const struct tensor *t, int64_t i)
{
    return t->format == FORMAT_I32 ? (double)ints(t)[i] : (double)reals(t)[i];
}

static void load_forward(const struct args *a)
{
    int64_t experts = a->in[0].shape.dim[0];
    double sum = 0;
    for (int64_t i = 0; i < experts; i++) sum += count_at(&a->in[0], i);
    for (int64_t i = 0; i < experts; i++)
        reals(&a->out[0])[i] = sum > 0 ? (real)((double)experts * count_at(&a->in[0], i) / sum) : 0;
}

KERNELS(load) = { load_forward, NULL, NULL };
OP(load, .inputs = "counts:I32|REAL[E]",
   .outputs = "load:REAL[E]",
   .about = "E n_i / sum of n: 1 everywhere when all are loaded alike; no gradient",
   .infer = infer_real);
