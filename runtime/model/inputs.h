/* What the graphs of a model read of a micro-batch: one line an input, from which come its leaf, its field in a batch
   and where that is put. */
#ifndef SLUICE_INPUTS_H
#define SLUICE_INPUTS_H

#include "conf.h"
#include "graph/graph.h"

struct state;

/* The graphs that read an input. noise_key is read by what draws noise alone, place by what records choices: training
   graphs ask for it, of place evaluations too; of present where data has answers, of pos where ranks divide
   sequences. */
enum { IN_TRAIN = 1 << MODE_TRAIN, IN_EVAL = 1 << MODE_EVAL, IN_DECODE = 1 << MODE_DECODE, ASKED = 8,
       ASKED_EVAL = 16 };

/* name, dtype, shape, graphs. ids and start are filled by who has tokens; target and weight by who has their
   successors, a corpus; present by what fills up windows, an evaluation's last batch for instance; pos by a decoder, or
   by inputs_stage_part. */
#define INPUTS(X) \
    X(ids,       I32,  SHAPE(batch, seq), IN_TRAIN | IN_EVAL | IN_DECODE) \
    /* position in its sequence at which the token's document begins; 0 for the document that it opens in */ \
    X(start,     I32,  SHAPE(batch, seq), IN_TRAIN | IN_EVAL | IN_DECODE) \
    /* positions that precede this chunk in the caches; or this rank's part in its sequences */ \
    X(pos,       I32,  SHAPE(1),          IN_DECODE | ASKED | ASKED_EVAL) \
    X(target,    I32,  SHAPE(batch, seq), IN_TRAIN | IN_EVAL) \
    /* 0 where the target lies in another document or does not count, else 1 */ \
    X(weight,    REAL, SHAPE(batch, seq), IN_TRAIN | IN_EVAL) \
    /* 0 where a window, or the batch, is only filled up, else 1 */ \
    X(present,   REAL, SHAPE(batch, seq), IN_EVAL | ASKED) \
    /* the key of each sequence, low word first: inputs_noise */ \
    X(noise_key, I32,  SHAPE(batch, 2),   ASKED) \
    /* number of the first sequence, of those of a step or an evaluation */ \
    X(place,     I32,  SHAPE(1),          ASKED | ASKED_EVAL)

#define INPUT_ENUM(name, dtype, shape, graphs) INPUT_##name,
enum input { INPUTS(INPUT_ENUM) INPUT_COUNT };

/* Of one micro-batch. */
#define INPUT_I32 int32_t
#define INPUT_REAL real
#define INPUT_VALUES(name, dtype, shape, graphs) INPUT_##dtype *name;
struct inputs { INPUTS(INPUT_VALUES) const char *of; };      /* of: before the names of their leaves */
struct inputs inputs_new(int64_t batch, int64_t seq);       /* weights and presence 1, the rest 0 */
void inputs_free(struct inputs in);

/* The noise of a sequence is a function of the seed and of its number in the run, whichever micro-batch of whichever
   rank it is in: numbers first.. */
void inputs_noise(struct inputs in, uint64_t seed, int64_t first, int64_t batch);

/* Sequences that are longer are cut into documents of so many tokens. */
void inputs_cut(struct inputs in, int64_t batch, int64_t seq, int64_t longest);

struct node *inputs_node(struct graph *g, const char *of, enum input input, int64_t batch, int64_t seq);

/* In decode: what a position reads of a ring, I32: the entries of `back` positions before the first of a chunk and of
   the chunk itself, rows [B,n]; where in these the chunk begins, pos [1]; and its documents, start [B,S]. chunk: of
   a mask, of which entries before the first one's chunk are not of it; else 0. */
struct ring_view { int64_t entries, back, chunk; };
struct ring_nodes { struct node *rows, *pos, *start; };
struct ring_nodes inputs_ring(struct graph *g, const char *of, struct ring_view view, int64_t batch, int64_t seq);
/* To the leaves that the graphs of a mode read, as state_stage does; what is NULL stays as it was. */
void inputs_stage(struct state *s, const struct leaves *l, enum mode mode, int micro, int micros,
                  const struct inputs *in);

/* Where ranks divide sequences: tokens [from, from + length) of the `seq` of each; what MTP blocks look ahead to, as
   inputs_ahead names it, up to `ahead` tokens on, 0 beyond the end; and of the sequences `ids`, with as many more. */
struct sequence_part { int64_t batch, seq, from, length; int ahead; };
void inputs_stage_part(struct state *s, const struct leaves *l, enum mode mode, int micro, int micros,
                       const struct inputs *whole, struct sequence_part part);
struct node *inputs_ahead(struct graph *g, const char *of, enum input input, int ahead, int64_t batch, int64_t length);
struct node *inputs_whole(struct graph *g, const char *of, enum input input, int64_t batch, int64_t seq);

/* Choices that are imposed on a layer's tokens: I32 [T,K], -1: none, filled by who has a record of them. router: ""
   or "attention_", as before the names of its metrics. */
struct node *inputs_choices(struct graph *g, const char *router, int layer, int64_t tokens, int64_t k);
int inputs_choices_layer(const struct leaf *l);             /* -1: it is another input */

#endif
