/* What the training loop and the files of a run share. */
#ifndef SLUICE_TRAIN_PRIVATE_H
#define SLUICE_TRAIN_PRIVATE_H

#include "train.h"
#include "choices.h"
#include "metrics.h"
#include "stop.h"

struct trainer {
    const struct study *study;
    const struct variant *variant;
    const struct point *point;
    const struct train_options *options;
    int number; char *dir;
    struct corpus *corpus;
    struct eval_set eval_set;
    struct session *session;
    struct store *store;
    struct metrics *train, *eval;
    struct stop *stop;
    double *loads;                                          /* of all experts, in the step that was logged */
    struct choices *choices;                                /* of another run, that this replays; NULL: its own */
    struct inputs batch; int64_t staged;                    /* the step whose batch is staged, -1: none */
    int64_t counted, sequences, first_tokens;               /* sequences of so many steps; tokens before `first` */
    /* Seconds of earlier attempts that trained, and all; when this one began, and what of it did not train. */
    double spent, spent_total, began, paused;
    int64_t first;                                          /* where it began */
    double flops_before, flops;                             /* of the steps up to the checkpoint, and up to `done` */
    double eval_loss;
    int64_t done, taken;                                    /* completed steps; of them what this attempt took over from
                                                               another run */
    bool ahead;                                             /* the one after them is given to the device already */
    bool data_lost;                                         /* the file of the tokens became shorter */
    bool goes_back;                                         /* the guard's: after an outlier, to a checkpoint */
    double lr, told; bool disk_low;                         /* of the last of them; when the watcher was told; seen
                                                               then */
    char started[512];                                      /* with whose weights; "": with draws */
    struct err err; int cause;                              /* of a failure; errno with it */
};

static inline double train_seconds_total(const struct trainer *t)
{
    return t->spent_total + clock_seconds() - t->began;
}

static inline double train_seconds(const struct trainer *t)
{
    return t->spent + clock_seconds() - t->began - t->paused;
}

int train_open(struct trainer *t, const struct past *past);         /* makes the run file, or goes on with it */
int train_say_fsck(struct err *e, const char *path);                /* where a bad file can be looked at */
int train_save(struct trainer *t);                                  /* a checkpoint */
int train_go_back(struct trainer *t);    /* the state is the last regular checkpoint's again; the step stays */
void train_tidy(const struct trainer *t);                           /* of a run that is over: no checkpoints but those
                                                                       that are kept, and that others wait for */
int train_close(struct trainer *t, enum store_status status, enum store_level level, enum store_event event,
                const char *text);
size_t train_checkpoint_bytes(const struct trainer *t);

#endif
