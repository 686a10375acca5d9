/* A trained model that produces tokens one by one, with its caches. */
#ifndef SLUICE_DECODER_H
#define SLUICE_DECODER_H

#include "model/model.h"

struct decoder;

/* Builds the decode graphs for sequences in chunks of size.seq tokens; where size.most is not 0, one that reads prompts
   in chunks of so many; where size.drafts, those of the MTP blocks. Weights and buffers are taken by path from another
   state of the same model, or the averages of those that have one. */
int decoder_new(struct decoder **out, const struct model_conf *conf, struct plan_how how, const struct leaves *from,
                struct state *trained, struct model_size size, int threads, struct err *e);
void decoder_free(struct decoder *d);

/* Other texts, which begin at position 0; or, where start is given, each of the batch at a position of its own, before
   which anything may stand: so texts of many lengths end at the same position. */
void decoder_begin(struct decoder *d, const int64_t *start);
const struct model_size *decoder_size(const struct decoder *d);
int64_t decoder_vocab(const struct decoder *d);

/* Feeds batch*chunk ids that stand at positions pos.. and gives the logits [batch,chunk,vocab] of what follows
   each. The document begins at position 0. Writing at a smaller pos rolls back, by size.rewind positions at most where
   the model keeps states or rings. */
void decoder_feed(struct decoder *d, int64_t pos, const int32_t *ids, real *logits);

/* Reads batch*(most + ahead) ids that stand at positions pos.., the first `most` of each sequence into the caches;
   ahead: as far as MTP blocks look, where they draft, else 0. Upper layers of which no cache needs more are not
   computed. Blocks draft for no position of those that were read so, of which there are decoder_prompt. */
void decoder_read(struct decoder *d, int64_t pos, const int32_t *ids);
int64_t decoder_ahead(const struct decoder *d), decoder_prompt(const struct decoder *d);

/* What reading a prompt leaves out: how many layers, and the share of a forward pass's FLOPs. */
struct prompt_saving { int layers; double flops; };
struct prompt_saving decoder_saving(const struct decoder *d);

/* Logits of MTP block `depth` (from 1) for tokens pos + depth + 1 .., after decoder_feed of the chunk at pos, and the
   drafts of earlier blocks for it; ids: the chunk's; ahead: the tokens `depth` positions on, by which a chain of blocks
   goes. What was fed or drafted by other tokens since is rolled back by drafting these positions anew. */
void decoder_draft(struct decoder *d, int depth, int64_t pos, const int32_t *ids, const int32_t *ahead, real *logits);

#endif
