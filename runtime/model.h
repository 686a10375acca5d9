/* The model skeleton: embed -> [ residual(attention), residual(ffn) ] x L -> final norm -> head. */
#ifndef SLUICE_MODEL_H
#define SLUICE_MODEL_H

#include "module.h"

/* The keys of sl.model{}. */
struct model_conf {
    int layers, d_model, seq, vocab;
    struct pick init, embed, norm, head;
    struct picks position, residual, attention, ffn;        /* one a layer */
};
extern const struct schema model_schema;

/* The keys of train = {}. */
struct train_conf {
    int steps, batch, micro, seed;
    double clip;
    int precision;                                          /* enum precision */
    struct pick optim, schedule;
    int eval_every, eval_batches, checkpoint_every, keep;
    int stop_window; double stop_sigma, stop_dead, stop_seconds;
};
extern const struct schema train_schema;

/* Reads and checks a model against its schema and every module's own rules. */
void model_load(const json_t *json, struct arena *arena, struct model_conf *conf, struct problems *problems);
void train_load(const json_t *json, struct arena *arena, struct train_conf *conf, struct problems *problems);

/* Adds the whole model to a graph. batch, seq: of this graph (micro-batch; chunk in decode). In MODE_TRAIN with
   train != NULL the update region (clipping, optimizer) follows. Inputs are the leaves "ids", "target", "weight",
   "start" and, in decode, "pos". Returns the node of REAL [T,V] logits in decode, else NULL; errors are in g->err. */
struct node *model_build(struct graph *g, const struct model_conf *conf, const struct train_conf *train, enum mode mode, int64_t batch, int64_t seq, int64_t context);

/* Parameter counts of what the graph's leaves hold. */
struct counts { int64_t total, active, non_embedding; };
struct counts model_count(const struct leaves *l);

#endif
