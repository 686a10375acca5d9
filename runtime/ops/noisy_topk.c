/* The load that noisy top-k is expected to give, and how uneven it is. Shazeer 2017, appendix A. */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "cpu/vec_math.h"

/* ---- threshold: key K+1 for what is chosen, key K for what is not;  gradients go to these two ---- */

enum { KEY, INDEX };

VERB struct node *threshold(struct graph *g, struct node *key, struct node *index)
{
    return graph_emit(g, &op_threshold, NULL, key, index);
}

static int threshold_infer(struct node *n, struct err *e)
{
    struct shape key = n->in[KEY]->shape, index = n->in[INDEX]->shape;
    if (index.dim[1] >= key.dim[1])
        return err_set(e, "k = %lld of %lld keys: none is left to compare with", (long long)index.dim[1],
                       (long long)key.dim[1]);
    node_value(n, DTYPE_REAL, key);
    node_save(n, DTYPE_I32, SHAPE(key.dim[0]));             /* which key is number K+1 */
    return 0;
}

static void mark(const int32_t *index, int64_t k, int64_t experts, bool *chosen)
{
    memset(chosen, 0, (size_t)experts);
    for (int64_t j = 0; j < k; j++) {
        INVARIANT(index[j] >= 0 && index[j] < experts, "threshold: expert %d of %lld", index[j], (long long)experts);
        chosen[index[j]] = true;
    }
}

/* The largest that is not chosen: ties go to the lower index, NaN comes last, as topk has it. */
static int32_t best_left(const real *key, const bool *chosen, int64_t experts)
{
    int64_t best = -1;
    for (int64_t e = 0; e < experts; e++) {
        if (chosen[e]) continue;
        if (best < 0 || key[e] > key[best] || (key[best] != key[best] && key[e] == key[e])) best = e;
    }
    return (int32_t)best;
}

static void threshold_tokens(const struct args *a, int64_t from, int64_t to)
{
    int64_t experts = a->in[KEY].shape.dim[1], k = a->in[INDEX].shape.dim[1];
    bool chosen[experts];
    for (int64_t t = from; t < to; t++) {
        const int32_t *index = ints(&a->in[INDEX]) + t * k;
        const real *key = reals(&a->in[KEY]) + t * experts;
        mark(index, k, experts, chosen);
        int32_t next = ints(&a->save[0])[t] = best_left(key, chosen, experts);
        real *y = reals(&a->out[0]) + t * experts;
        for (int64_t e = 0; e < experts; e++) y[e] = key[chosen[e] ? next : index[k - 1]];
    }
}

static void threshold_gradients(const struct args *a, int64_t from, int64_t to)
{
    int64_t experts = a->in[KEY].shape.dim[1], k = a->in[INDEX].shape.dim[1];
    bool chosen[experts];
    for (int64_t t = from; t < to; t++) {
        const int32_t *index = ints(&a->in[INDEX]) + t * k;
        const real *dy = reals(&a->dout[0]) + t * experts;
        double of[2] = { 0 };                               /* what was not, and what was chosen */
        mark(index, k, experts, chosen);
        for (int64_t e = 0; e < experts; e++) of[chosen[e]] += (double)dy[e];
        real *dx = row_add(&a->din[KEY], t * experts, experts, a->beta[KEY], NULL);
        dx[index[k - 1]] += (real)of[false];
        dx[ints(&a->save[0])[t]] += (real)of[true];
    }
}

static void each_token(const struct args *a, void (*body)(const struct args *, int64_t, int64_t))
{
    each(a, a->in[KEY].shape.dim[0], rows_grain(a->in[KEY].shape.dim[1]), body);
}

static void threshold_forward(const struct args *a) { each_token(a, threshold_tokens); }
static void threshold_backward(const struct args *a) { if (a->din[KEY].data) each_token(a, threshold_gradients); }

KERNELS(threshold) = { threshold_forward, threshold_backward, NULL };
OP(threshold, .inputs = "key:REAL[T,E] index:I32[T,K]",
   .outputs = "y:REAL[T,E]",
   .about = "the K-th largest of the other keys, which a key must exceed to be chosen; K < E",
   .infer = threshold_infer, .gradient = true, .rows = 3, .rows_back = true,
   .reads_in = 1u << INDEX);

/* ---- cv2: V / (m^2 + eps), V the population variance, m the mean, of E values;
        dx = dy 2 / (E (m^2 + eps)) (x - m - y m) ---- */

VERB struct node *cv2(struct graph *g, struct node *x) { return graph_emit(g, &op_cv2, NULL, x); }

struct spread { double mean, square, variance; };           /* square: m^2 + eps */

static struct spread spread_of(const struct tensor *x)
{
    int64_t n = x->shape.dim[0];
    struct spread s = { 0 };
    for (int64_t i = 0; i < n; i++) s.mean += (double)reals(x)[i];
    s.mean /= (double)n;
    for (int64_t i = 0; i < n; i++) s.variance += ((double)reals(x)[i] - s.mean) * ((double)reals(x)[i] - s.mean);
    s.variance /= (double)n;
    s.square = s.mean * s.mean + 1e-10;
    return s;
}

static void cv2_forward(const struct args *a)
{
    struct spread s = spread_of(&a->in[0]);
    reals(&a->out[0])[0] = (real)(s.variance / s.square);
}

static void cv2_backward(const struct args *a)
{
    if (!a->din[0].data) return;
    int64_t n = a->in[0].shape.dim[0];
    struct spread s = spread_of(&a->in[0]);
    double y = s.variance / s.square, by = 2 * (double)reals(&a->dout[0])[0] / ((double)n * s.square);
    real *dx = row_add(&a->din[0], 0, n, a->beta[0], NULL);
    for (int64_t i = 0; i < n; i++) dx[i] += (real)(by * ((double)reals(&a->in[0])[i] - s.mean - y * s.mean));
}

KERNELS(cv2) = { cv2_forward, cv2_backward, NULL };
OP(cv2, .inputs = "x:REAL[E]",
   .outputs = "y:REAL[1]",
   .about = "squared coefficient of variation, variance / (mean^2 + 1e-10)",
   .infer = infer_number, .gradient = true, .reads_in = 1);
