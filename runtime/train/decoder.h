/* A trained model that produces tokens one by one, with its caches. */
#ifndef SLUICE_DECODER_H
#define SLUICE_DECODER_H

#include "model/model.h"

struct decoder;

/* Builds the decode graph for sequences in chunks of size.seq tokens. Weights and buffers are taken by path from
   another state of the same model, or the averages of those that have one. */
int decoder_new(struct decoder **out, const struct model_conf *conf, struct plan_how how, const struct leaves *from,
                struct state *trained, struct model_size size, int threads, struct err *e);
void decoder_free(struct decoder *d);

/* Feeds batch*chunk ids that stand at positions pos.. and gives the logits [batch,chunk,vocab] of what follows
   each. The document begins at position 0. Writing at a smaller pos rolls back, by size.rewind positions at most where
   the model keeps states. */
void decoder_feed(struct decoder *d, int64_t pos, const int32_t *ids, real *logits);

/* A token from logits: the largest (temperature 0), or drawn by (seed, position). */
int decoder_choose(const real *logits, int64_t vocab, double temperature, uint64_t seed, int64_t position);

#endif
