/* The verbs of the graph language: one line an op. runtime/ops/<family>.c holds each op's shape rule, counts
   and CPU kernels; a backend that lacks a twin does not link.

   Symbols: B sequences, S positions, T = B*S tokens, D width, H heads, G key/value heads, W head width,
   E experts, K chosen, R expert rows, at most T*K, F hidden, V vocabulary, C cache length.
   `start` is I32 [B,S]: position in its sequence at which the document of the token begins. `pos` is I32 [1] or
   NULL: how many positions precede this chunk in the caches (decode); NULL is 0 and no cache.
   Unless said: out has the shape and dtype of the first input, inputs may be ACT or REAL. */
#ifndef SLUICE_OPS_H
#define SLUICE_OPS_H

#include "attributes.h"
#include "elementwise.h"
#include "graph.h"

#define UNARY_OF (struct graph *g, struct node *x)
#define POSITIVE_OF UNARY_OF
#define BINARY_OF (struct graph *g, struct node *x, struct node *y)
#define BY_OF (struct graph *g, struct node *x, double p)
#define RANGE_OF (struct graph *g, struct node *x, double p, double q)
#define GLU_OF (struct graph *g, struct node *x, struct node *y, double p, double q)
#define ELEMENTWISE_OP(X, kind, name, ...) X(name, kind##_OF)

#define OPS(X) \
    /* products */ \
    X(matmul, (struct graph *g, struct node *x /*[T,K]*/, struct node *w /*[N,K]*/, enum dtype out)) \
        /* x w^T [T,N] */ \
    X(grouped_matmul, (struct graph *g, struct node *x /*[R,K]*/, struct node *w /*[E,N,K]*/, struct node *offsets)) \
        /* rows offsets[e].. use w[e]; [R,N], 0 from the last offset on */ \
    X(attention, (struct graph *g, struct attention a)) \
        /* q [T,H,W]; k, v [T,G,W or B,C,G,W of a cache]; gives [T,H,W]. Logit z of token t and key s, d = t - s: \
           z = scale q.k + rel[t,h,d] where d < R;  softcap tanh(z / softcap);  seen if 0 <= d < window, both are of \
           one document and there of one chunk, and index[t] names s;  softmax over those and sink, which has no \
           value. sink: REAL [H or T,H]; rel: [T,H,R]; index: I32 [T,X], positions in the sequence, -1 for none: what \
           names no key that is seen otherwise is passed over, and a key that is named twice counts as two. \
           out 1: logit_max REAL [H], of z seen, before the cap; out 2, where there is a sink or an index: sink_mass \
           REAL [H], its mean share; out 3, where there is an index: mass REAL [T,X], the shares of its keys, summed \
           over heads, without a gradient. Who sees nothing, as when its document begins after it, is 0 */ \
    X(index_topk, (struct graph *g, struct index_topk a)) \
        /* which keys to attend to: I[t,s] = sum over j of w[t,j] q[t,j].k[s], with relu of each product before it is \
           weighed; of the s that attention sees the `chosen` with the largest I: I32 [T,X], largest first, ties to \
           the lower s, -1 where there are no more. out 1: score REAL [T,X], these I, -INFINITY where there is none */ \
    X(delta_rule, (struct graph *g, struct delta_rule a)) \
        /* [T,HV,M]; chunk: tokens that are products of matrices together. A token whose document begins after it \
           stores nothing and gives 0. state: the one after position p is entry p mod R, so that pos may go back by \
           up to R - 1; a chunk at pos goes on from entry pos - 1 */ \
    X(cross_entropy, (struct graph *g, struct node *h /*[T,D]*/, struct node *w /*[V,D]*/, \
                      struct node *target /*I32 [B,S]*/)) \
        /* REAL [T] -log p; out 1: lse REAL [T]; out 2: hit REAL [T], 1 where argmax is the target */ \
    ELEMENTWISE(ELEMENTWISE_OP, X) \
    /* broadcast */ \
    X(add_row, (struct graph *g, struct node *x /*[T,E]*/, struct node *row /*[E]*/)) \
    X(mul_row, (struct graph *g, struct node *x /*[..,D]*/, struct node *row /*[D]*/)) \
    X(mul_scalar, (struct graph *g, struct node *x, struct node *s /*REAL [1]*/)) \
    X(mul_heads, (struct graph *g, struct node *x /*[T,H,W]*/, struct node *by /*[T,H]*/)) \
    X(mix_streams, (struct graph *g, struct node *x /*[T,n,D]*/, struct node *m /*[T,m,n], or [m,n] for all*/)) \
        /* [T,m,D]: sum over j of m[t,i,j] x[t,j] */ \
    /* rows */ \
    X(rmsnorm, (struct graph *g, struct node *x /*[..,D]*/, struct node *gain /*[D], NULL: all 1*/, double eps, \
                bool zero_centred)) \
        /* zero_centred: (1+gain) */ \
    X(l2norm, (struct graph *g, struct node *x /*[..,D]*/, double eps)) /* x / sqrt(sum of x^2 + eps) */ \
    X(softmax, (struct graph *g, struct node *x)) /* REAL, over the last dimension */ \
    X(logsumexp, (struct graph *g, struct node *x /*[T,E]*/)) /* REAL [T] */ \
    X(normalize, (struct graph *g, struct node *x /*[T,K]*/, double eps)) /* x / (sum of row + eps) */ \
    X(sinkhorn, (struct graph *g, struct node *logits /*REAL [T,n,n]*/, int64_t iterations, double eps)) \
        /* REAL: sums of rows and columns are 1, the latter exactly */ \
    X(row_entropy, (struct graph *g, struct node *p /*[T,E]*/)) \
        /* REAL [T], nat, of p / sum p; no gradient */ \
    X(rope, (struct graph *g, struct node *x /*[T,H,W]*/, struct node *start, struct node *pos, int64_t width, \
             enum rope_where where, double base)) \
    X(concat, (struct graph *g, int n, struct node *const *x /*[T,Di]*/)) /* [T, sum Di] */ \
    X(columns, (struct graph *g, struct node *x /*[..,D]*/, int64_t from, int64_t n)) /* [..,n] */ \
    X(repeat, (struct graph *g, struct node *x /*[T,..]*/, int64_t n)) /* [T,n,..]: n copies of each row */ \
    /* tables and tokens */ \
    X(embed, (struct graph *g, struct node *table /*[V,D]*/, struct node *ids /*I32 [B,S]*/)) \
        /* ACT [T,D] */ \
    X(ngram, (struct graph *g, struct node *ids /*I32 [B,S|C]*/, struct node *start, struct node *pos, int order, \
              int64_t vocab, int64_t rows, enum hash_kind hash)) \
        /* I32 [B,S] */ \
    X(collision_rate, (struct graph *g, struct node *ids, struct node *start, struct node *index, int order)) \
        /* REAL [1]: share of the distinct n-grams that share their row with another */ \
    X(shift, (struct graph *g, struct node *x /*[B,S], I32 or REAL*/, int by)) \
        /* out[b,s] = x[b,s+by], 0 past the end; no gradient */ \
    X(slice, (struct graph *g, struct node *x /*[B,S,..]*/, int64_t length)) \
        /* [B,length,..]: the first positions of each sequence */ \
    X(conv1d, (struct graph *g, struct node *x /*[T,D]*/, struct node *w /*[D,kw]*/, struct node *start, \
               struct node *pos, struct node *state /*REAL [B,R,D] or NULL*/, bool silu)) \
        /* out[t] = sum_j w[:,kw-1-j] x[t-j] within the document, then silu; state: a ring of the last inputs, that of \
           position p in entry p mod R; pos may go back by up to R - (kw-1) */ \
    X(mask_rows, (struct graph *g, struct node *x /*of T tokens, also I32*/, \
                  struct node *present /*REAL, T values*/, double value)) \
        /* out[t] = x[t], value where present[t] is 0; gradient to x only */ \
    X(cache, (struct graph *g, struct node *buffer /*[B,C,..]*/, struct node *x /*[T,..]*/, struct node *start, \
              struct node *pos)) \
        /* writes x at pos; the whole buffer */ \
    /* routing */ \
    X(topk, (struct graph *g, struct node *key /*REAL [T,E]*/, int k)) \
        /* I32 [T,K]: largest first, ties to the lower index; out 1: margin REAL [T] = key K minus key K+1 \
           (0 when K = E) */ \
    X(pick, (struct graph *g, struct node *x /*REAL [T,E]*/, struct node *index /*[T,K]*/)) /* REAL [T,K], 0 where \
           index is no column */ \
    X(scatter, (struct graph *g, struct node *value /*REAL [T,K]*/, struct node *index /*[T,K]*/, int experts)) \
        /* REAL [T,E]: of each expert the value where it is chosen, else 0; what is no column goes nowhere */ \
    X(topk_columns, (struct graph *g, struct node *key /*REAL [T,E]*/, int64_t groups, int64_t c)) \
        /* experts choose: I32 [T,E], column e is e in the c rows of each group of T/groups with the largest keys, -1 \
           in the others; ties to the lower row; -INFINITY is never chosen. out 1: REAL [E], the c-th largest key, \
           mean over groups */ \
    X(hash_ids, (struct graph *g, struct node *ids /*I32 [B,S]*/, int experts, int k, uint64_t seed)) \
        /* I32 [T,K]: experts of a token by its id alone, distinct; equally many ids for each */ \
    X(drop_zero, (struct graph *g, struct node *index /*[T,K]*/, struct node *gate /*REAL [T,K]*/)) \
        /* index, -1 where gate is 0 */ \
    X(drop_over_capacity, (struct graph *g, struct node *index /*[T,K]*/, struct node *gate /*REAL [T,K] or NULL*/, \
                           int experts, int64_t groups, int64_t capacity, enum priority first)) \
        /* index, -1 for pairs for which their expert has no room in their group of T/groups tokens; ties to the \
           earlier pair; gate is for PRIORITY_GATE. out 1: REAL [1], share of the pairs that were dropped */ \
    X(dispatch, (struct graph *g, struct node *index /*[T,K]*/, int experts, int64_t rows)) \
        /* stable sort by expert: offsets I32 [E+1]; out 1: order I32 [R], row -> t*K+j; out 2: place I32 [T,K], \
           inverse; out 3: counts I32 [E]. An index of -1 or of E and above gives no row: place -1; order is -1 from \
           the last offset on. R = rows, which the caller knows to be enough; 0: T*K */ \
    X(gather, (struct graph *g, struct node *x /*[T,D]*/, struct node *order, struct node *place)) \
        /* row r = x[order[r] / K], 0 for -1; [R,D] */ \
    X(combine, (struct graph *g, struct node *y /*[R,D]*/, struct node *order, struct node *place, \
                struct node *gate /*REAL [T,K]*/)) \
        /* ACT [T,D]: sum_j gate[t,j] y[place[t,j]], less those of -1; rows of y of nobody are not read */ \
    X(load, (struct graph *g, struct node *counts /*[E] I32 or REAL*/)) \
        /* REAL [E]: E n_i / sum n; no gradient */ \
    /* noise, and the load that a noisy choice of experts is expected to give */ \
    X(noise, (struct graph *g, struct node *like /*[T,..]*/, struct node *key /*I32 [B,2], a sequence's each*/, \
              const char *name, enum noise_kind kind)) \
        /* REAL, of the shape of `like`: a function of key, position, column and name; no gradient */ \
    X(threshold, (struct graph *g, struct node *key /*REAL [T,E]*/, struct node *index /*[T,K] of topk*/)) \
        /* REAL [T,E]: the K-th largest of the other keys, which e must exceed to be chosen; K < E */ \
    X(cv2, (struct graph *g, struct node *x /*REAL [E]*/)) \
        /* REAL [1]: squared coefficient of variation, variance / (mean^2 + 1e-10) */ \
    /* to few values */ \
    X(mean_rows, (struct graph *g, struct node *x /*[..,E] or [T]*/)) /* REAL [E]; [1] for rank 1 */ \
    X(weighted_sum, (struct graph *g, struct node *x /*REAL [T]*/, struct node *weight /*REAL [T], NULL: all 1*/)) \
        /* REAL [1]: sum w x; gradient to x only */ \
    X(dot, (struct graph *g, struct node *a, struct node *b)) /* REAL [1] */ \
    X(max_all, (struct graph *g, struct node *x)) /* REAL [1]; no gradient */ \
    X(rms, (struct graph *g, struct node *x)) /* REAL [1]: sqrt(mean x^2); no gradient */ \
    X(outside, (struct graph *g, struct node *x, double low, double high)) \
        /* REAL [1]: share of values below low or above high; no gradient */ \
    /* bridge */ \
    X(carry, (struct graph *g, struct node *x, enum carry how)) \
        /* REAL: x over the micro-batches of a step: the bridge from region to region */ \
    /* update region: inputs marked * are changed in place; step is the 1-based number of the step, lr is REAL [1];
       clip is what clip_norm gives: [0] factor on gradients, [1] go (0: the step is skipped, nothing changes) */ \
    X(global_norm, (struct graph *g, int n, struct node *const *grads)) \
        /* REAL [1]: L2 norm, accumulated in double */ \
    X(clip_norm, (struct graph *g, struct node *norm, struct node *targets /*REAL [1] or NULL*/, double most)) \
        /* REAL [2]: min(1, most/(norm+1e-6)), 1 if norm is finite and there are targets else 0; \
           most 0: no clipping */ \
    X(adamw, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *v, struct node *lr, \
              struct node *step, struct node *clip, struct adamw_attr a)) \
        /* w* m* v*; REAL [2]: sum of squares of the change, of w before */ \
    X(muon, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr, struct node *clip, \
             struct muon_attr a)) \
        /* w* m*; REAL [2] as adamw; leading dimensions are a stack */ \
    X(bias_step, (struct graph *g, struct node *bias /*[E]*/, struct node *counts /*REAL [E]*/, struct node *clip, \
                  double rate)) \
        /* bias*; REAL [1]: max - min of bias, before */ \
    X(clip_heads, (struct graph *g, struct node *w /*[N,D]*/, struct node *most /*REAL [H], of attention's out 1*/, \
                   struct node *clip, struct clip_heads_attr a)) \
        /* w*; REAL [1]: share of groups whose rows were made smaller */ \
    X(average, (struct graph *g, struct node *average /*as w*/, struct node *w, struct node *clip, \
                struct node *rate /*REAL [1]*/)) \
        /* average*; REAL [1]: the rate, 0 when skipped */ \
    X(update_ratio, (struct graph *g, int n, struct node *const *changes)) \
        /* REAL [1]: sqrt(sum of changes[i][0] / sum of changes[i][1]) */

#define OPS_DECLARE(name, signature) struct node *name signature; extern const struct op op_##name;
#define OPS_INDEX(name, signature) OP_##name,
enum { OPS(OPS_INDEX) OP_COUNT };
OPS(OPS_DECLARE)

#endif
