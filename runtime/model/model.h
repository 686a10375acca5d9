/* The model skeleton: embed -> [ block: residual(attention), residual(ffn) ] x L -> final norm -> head. */
#ifndef SLUICE_MODEL_H
#define SLUICE_MODEL_H

#include "conf.h"
#include "plan/plan.h"

/* Reads and checks a model against its schema and every module's own rules. */
void model_load(const json_t *json, struct arena *arena, struct model_conf *conf, struct problems *problems);
void data_load(const json_t *json, struct arena *arena, struct data_conf *conf, struct problems *problems);
void train_load(const json_t *json, struct arena *arena, struct train_conf *conf, struct problems *problems);
/* Of a step: its micro-batches, and how long its sequences may be. Sequences of all steps before one. */
struct ramps { const struct train_conf *train; int64_t seq, batch_warmup, seq_warmup; };
struct ramps train_ramps(const struct train_conf *train, int64_t seq);
int train_micros(const struct ramps *r, int64_t step);
int train_longest(const struct ramps *r, int64_t step);
int64_t train_sequences(const struct ramps *r, int64_t step);
/* Rules between the two tables. */
void conf_agree(const struct model_conf *model, const struct train_conf *train, struct problems *problems);

struct observer;
/* The graphs of decoding, which share caches. Step: logits of each row. Prompt: none, caches alone; what none of them
   needs is not computed, as the rest of a stack whose upper layers read lower ones' keys. Draft: MTP block `depth`
   (from 1) alone, by what it reads of the trunk's graph and of the block before, its logits. */
enum decode { DECODE_STEP, DECODE_PROMPT, DECODE_DRAFT };
/* Of a graph: batch: sequences of a micro-batch; seq: their length, in decode a chunk's; of decode: context: length of
   the caches; most: the longest chunk of the graphs that share them (0: seq); rewind: positions that can be rolled back
   where a state or a ring is kept rather than a cache; drafts: MTP blocks decode too. ends: becomes what each of
   the trunk's layers leaves to the next one; loss: becomes the loss of each token, REAL [T], whose result 2 is 1 where
   the target was the likeliest, or NULL, where the head has none; NULL: is not wanted. observer: of routers (build.h);
   NULL: none. of: before the names of its inputs; NULL: nothing. */
struct model_size {
    int64_t batch, seq, context, most, rewind;
    enum decode part; int depth; bool drafts;
    struct node **ends, **loss;
    const struct observer *observer;
    const char *of;
};

/* Of an evaluation, beside micro-batches of so many training sequences: about as many tokens at once. */
struct model_size model_eval_size(const struct model_conf *conf, const struct train_conf *train, int64_t batch);

/* Adds the whole model to a graph. In MODE_TRAIN with train != NULL the update region (clipping, optimizer) follows; of
   an evaluation `train` says what is recorded. What it reads of a micro-batch: inputs.h. Returns the node of REAL [T,V]
   logits in decode, else NULL, as of a prompt; errors are in g->err. `arena` holds what callbacks keep; it and the
   confs outlive the graph. A model that always looks ahead has no decode graph: an error. */
struct node *model_build(struct graph *g, struct arena *arena, const struct model_conf *conf,
                         const struct train_conf *train, enum mode mode, struct model_size size);

/* When a position may see later ones. Always: losses are not those of a causal model, and nothing can be sampled. */
enum ahead model_looks_ahead(const struct model_conf *conf);

/* Bytes that decoding keeps of one sequence, a token at a time: of a full context keys and values of `bytes` bytes
   each, of which a layer keeps the positions that its window reads back, min(window, context), all of them and divided
   by the tokens; and states, in float, whose size does not grow. Of MTP blocks where the graph drafts. */
struct cache_bytes { size_t per_token, fixed, full; };
struct cache_bytes model_cache_bytes(const struct leaves *decode_leaves, int64_t batch, int64_t context, size_t bytes);

/* Parameter counts of what the leaves hold. active: what one token uses (k of E experts, one row of a table; an
   untied input embedding counts one row). active_embedded: the same with the input embedding whole, as models are
   advertised. non_embedding: without token embedding, tables and head. trained: without those that are frozen. */
struct counts { int64_t total, active, non_embedding, active_embedded, trained; };
struct counts model_count(const struct leaves *l);

#endif
