/* The verbs of the graph language: one line an op. runtime/ops/<family>.c holds what each takes and gives, its shape
   rule, counts and CPU kernels; docs/ops.md lists them. A backend that lacks a twin does not link.

   Symbols: B sequences, S positions, T = B*S tokens, D width, H heads, G key/value heads, W head width,
   E experts, K chosen, R expert rows, at most T*K, F hidden, V vocabulary, C cache length.
   `start` is I32 [B,S]: position in its sequence at which the document of the token begins. `pos` is I32 [1] or
   NULL: how many positions precede this chunk in the caches (decode); NULL is 0 and no cache. */
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
    X(matmul, (struct graph *g, struct node *x, struct node *w, enum dtype out)) \
    X(grouped_matmul, (struct graph *g, struct node *x, struct node *w, struct node *offsets)) \
    X(attention, (struct graph *g, struct attention a)) \
    X(index_topk, (struct graph *g, struct index_topk a)) \
    X(delta_rule, (struct graph *g, struct delta_rule a)) \
    X(cross_entropy, (struct graph *g, struct node *h, struct node *w, struct node *target)) \
    ELEMENTWISE(ELEMENTWISE_OP, X) \
    /* broadcast */ \
    X(add_row, (struct graph *g, struct node *x, struct node *row)) \
    X(grouped_add_row, (struct graph *g, struct node *x, struct node *row, struct node *offsets)) \
    X(mul_row, (struct graph *g, struct node *x, struct node *row)) \
    X(mul_scalar, (struct graph *g, struct node *x, struct node *s)) \
    X(mul_heads, (struct graph *g, struct node *x, struct node *by)) \
    X(mix_streams, (struct graph *g, struct node *x, struct node *m)) \
    /* rows */ \
    X(rmsnorm, (struct graph *g, struct node *x, struct node *gain, double eps, bool zero_centred)) \
    X(l2norm, (struct graph *g, struct node *x, double eps)) \
    X(softmax, (struct graph *g, struct node *x)) \
    X(logsumexp, (struct graph *g, struct node *x)) \
    X(normalize, (struct graph *g, struct node *x, double eps)) \
    X(sinkhorn, (struct graph *g, struct node *logits, int64_t iterations, double eps)) \
    X(row_entropy, (struct graph *g, struct node *p)) \
    X(cumsum, (struct graph *g, struct node *x)) \
    X(rope, (struct graph *g, struct node *x, struct node *start, struct node *pos, int64_t width, \
             enum rope_where where, double base)) \
    X(concat, (struct graph *g, int n, struct node *const *x)) \
    X(columns, (struct graph *g, struct node *x, int64_t from, int64_t n)) \
    X(repeat, (struct graph *g, struct node *x, int64_t n)) \
    /* tables and tokens */ \
    X(embed, (struct graph *g, struct node *table, struct node *ids)) \
    X(ngram, (struct graph *g, struct node *ids, struct node *start, struct node *pos, int order, int64_t vocab, \
              int64_t rows, enum hash_kind hash)) \
    X(collision_rate, (struct graph *g, struct node *ids, struct node *start, struct node *index, int order)) \
    X(shift, (struct graph *g, struct node *x, int by)) \
    X(slice, (struct graph *g, struct node *x, int64_t length)) \
    X(conv1d, (struct graph *g, struct node *x, struct node *w, struct node *start, struct node *pos, \
               struct node *state, bool silu)) \
    X(mask_rows, (struct graph *g, struct node *x, struct node *present, double value)) \
    X(cache, (struct graph *g, struct node *buffer, struct node *x, struct node *start, struct node *pos)) \
    /* routing */ \
    X(topk, (struct graph *g, struct node *key, int k)) \
    X(pick, (struct graph *g, struct node *x, struct node *index)) \
    X(scatter, (struct graph *g, struct node *value, struct node *index, int experts)) \
    X(topk_columns, (struct graph *g, struct node *key, int64_t groups, int64_t c)) \
    X(transport, (struct graph *g, struct node *value, struct transport_attr a)) \
    X(assign, (struct graph *g, struct node *value, struct assign_attr a)) \
    X(hash_ids, (struct graph *g, struct node *ids, int experts, int k, uint64_t seed)) \
    X(forced_key, (struct graph *g, struct node *ids, struct node *start, struct node *pos, struct forced_key_attr a)) \
    X(drop_zero, (struct graph *g, struct node *index, struct node *gate)) \
    X(drop_over_capacity, (struct graph *g, struct node *index, struct node *gate, struct node *room, int experts, \
                           int64_t groups, int64_t capacity, enum priority first)) \
    X(merge_groups, (struct graph *g, struct node *gate, struct node *index, int64_t size)) \
    X(dispatch, (struct graph *g, struct node *index, int experts, int64_t rows)) \
    X(gather, (struct graph *g, struct node *x, struct node *order, struct node *inverse)) \
    X(combine, (struct graph *g, struct node *y, struct node *order, struct node *inverse, struct node *gate)) \
    X(load, (struct graph *g, struct node *counts)) \
    X(count_chosen, (struct graph *g, struct node *index, int experts, int64_t parts, int64_t groups, bool once)) \
    X(round_counts, (struct graph *g, struct node *counts, int64_t tile, enum rounding how)) \
    X(place_rows, (struct graph *g, struct node *x, struct node *place, int64_t sequences, int64_t length)) \
    /* noise */ \
    X(noise, (struct graph *g, struct node *like, struct node *key, const char *name, enum noise_kind kind)) \
    X(threshold, (struct graph *g, struct node *key, struct node *index)) \
    X(cv2, (struct graph *g, struct node *x)) \
    /* to few values */ \
    X(mean_rows, (struct graph *g, struct node *x)) \
    X(weighted_sum, (struct graph *g, struct node *x, struct node *weight)) \
    X(dot, (struct graph *g, struct node *a, struct node *b)) \
    X(max_all, (struct graph *g, struct node *x)) \
    X(rms, (struct graph *g, struct node *x)) \
    X(outside, (struct graph *g, struct node *x, double low, double high)) \
    /* bridge */ \
    X(carry, (struct graph *g, struct node *x, enum carry how)) \
    /* update region */ \
    X(global_norm, (struct graph *g, int n, struct node *const *grads)) \
    X(clip_norm, (struct graph *g, struct node *norm, struct node *targets, double most)) \
    X(adamw, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *v, struct node *lr, \
              struct node *step, struct node *clip, struct adamw_attr a)) \
    X(muon, (struct graph *g, struct node *w, struct node *grad, struct node *m, struct node *lr, struct node *clip, \
             struct muon_attr a)) \
    X(bias_step, (struct graph *g, struct node *bias, struct node *counts, struct node *clip, struct node *target, \
                  struct bias_step_attr a)) \
    X(clip_heads, (struct graph *g, struct node *w, struct node *most, struct node *clip, struct clip_heads_attr a)) \
    X(average, (struct graph *g, struct node *average, struct node *w, struct node *clip, struct node *rate)) \
    X(update_ratio, (struct graph *g, int n, struct node *const *changes))

#define OPS_DECLARE(name, signature) struct node *name signature; extern const struct op op_##name;
#define OPS_INDEX(name, signature) OP_##name,
enum { OPS(OPS_INDEX) OP_COUNT };
OPS(OPS_DECLARE)

#endif
