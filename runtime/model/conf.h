/* What a configuration comes to: the tables of a script, loaded. */
#ifndef SLUICE_CONF_H
#define SLUICE_CONF_H

#include "base/mesh.h"
#include "config.h"

enum mode { MODE_TRAIN, MODE_EVAL, MODE_DECODE };

/* When a position may see later ones. Training: what is evaluated and sampled is a causal model, what is trained is
   not. */
enum ahead { AHEAD_NEVER, AHEAD_TRAINING, AHEAD_ALWAYS };
extern const char *const ahead_name[];

/* The keys of sl.model{}. */
struct model_conf {
    int layers, d_model, seq, vocab;
    struct ints order;
    struct pick init, parametrization, embed, norm, head, adapter;
    struct picks position, residual, memory, block, ple, conv, attention, ffn;     /* one a layer */
};
extern const struct schema model_schema;

/* The key `data` of a study, where it is a table. */
struct data_conf { struct pick data; };
extern const struct schema data_schema;

/* How many layers run, one after the other; and with the blocks that MTP adds: the layer dimension of metrics. */
int model_passes(const struct model_conf *conf);
int model_layer(const struct model_conf *conf, int pass);   /* whose settings and weights one of them has */
int model_blocks(const struct model_conf *conf);

/* How weights become values of bf16 after a step. */
enum weight_rounding { WEIGHTS_FP32, WEIGHTS_NEAREST, WEIGHTS_STOCHASTIC };

/* The keys of train = {}. */
struct train_conf {
    int steps, batch, micro;
    double clip;
    int backend, precision, recompute;                      /* enum backend_kind, enum precision, enum recompute */
    int rounding, offload;                                  /* rounding: enum weight_rounding */
    struct pick ranks, fp8, optim, constraint, schedule, decay_schedule, momentum_schedule, batch_schedule,
                seq_schedule, guard, average;
    struct picks rates, monitors;
    int eval_every, eval_tokens, eval_seq, record, checkpoint_every, keep;
    int stop_window; double stop_sigma, stop_dead, stop_seconds;
    bool answers;                                           /* no key: what the data says. Windows are filled up then */
};
extern const struct schema train_schema;
/* How ranks divide a run: as train.ranks says, with what it leaves open for so many ranks; room: as there. -1: they
   cannot, e says why. zero: 1: moments are divided, 2: gradients too, 3: weights too. schedule: enum pipeline. */
struct division {
    struct mesh mesh;
    double room;
    int zero, schedule, chunks, spare, spare_every;         /* spare: experts that a rank computes beside its own */
    int pieces;    /* of a micro-batch's tokens, which go to experts one after the other */
    bool overlap;
};
int train_division(const struct train_conf *c, int ranks, struct division *out, struct err *e);
bool train_averages(const struct train_conf *c);            /* whether evaluations read averages of the weights */

#endif
