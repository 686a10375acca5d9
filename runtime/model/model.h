/* The model skeleton: embed -> [ residual(attention), residual(ffn) ] x L -> final norm -> head. */
#ifndef SLUICE_MODEL_H
#define SLUICE_MODEL_H

#include "conf.h"
#include "plan/plan.h"

/* Reads and checks a model against its schema and every module's own rules. */
void model_load(const json_t *json, struct arena *arena, struct model_conf *conf, struct problems *problems);
void train_load(const json_t *json, struct arena *arena, struct train_conf *conf, struct problems *problems);

/* Adds the whole model to a graph. batch, seq: of this graph (micro-batch; chunk in decode). In MODE_TRAIN with
   train != NULL the update region (clipping, optimizer) follows. What it reads of a micro-batch: inputs.h. Returns
   the node of REAL [T,V] logits in decode, else NULL; errors are in g->err. `arena` holds what callbacks keep; it and
   the confs outlive the graph. */
struct node *model_build(struct graph *g, struct arena *arena, const struct model_conf *conf,
                         const struct train_conf *train, enum mode mode, int64_t batch, int64_t seq, int64_t context);

/* Bytes of K and V that decoding needs for each token of a full context, for elements of `bytes` bytes: a layer keeps
   the positions that its window reads back, min(window, context). MTP blocks, which do not decode, have none. */
size_t model_kv_bytes(const struct leaves *decode_leaves, int64_t batch, int64_t context, size_t bytes);

/* Parameter counts of what the leaves hold. active: what one token uses (k of E experts, one row of a table; an
   untied input embedding counts one row). active_embedded: the same with the input embedding whole, as models are
   advertised. non_embedding: without token embedding, tables and head. */
struct counts { int64_t total, active, non_embedding, active_embedded; };
struct counts model_count(const struct leaves *l);

#endif
