/* The choices that a run replays: those of a record, the run file of another, imposed on the same tokens. */
#ifndef SLUICE_CHOICES_H
#define SLUICE_CHOICES_H

#include "train.h"

struct choices;
/* NULL: the run's own router chooses. -1: there is no record, or it is not of all the steps, tokens and layers of this
   run. s: of the run, whose evaluations measure what `eval` says. */
int choices_open(struct choices **out, const struct study *study, int point, const struct session *s,
                 const struct corpus *corpus, const struct eval_set *eval, struct err *e);
void choices_close(struct choices *c);
/* To the leaves of a micro-batch, or of an evaluation's piece (STORE_EVAL), those of the sequences `first`, counted in
   the step or evaluation. step: as rows of the record are numbered. */
int choices_stage(struct choices *c, enum store_group group, int64_t step, int64_t first, int micro, struct err *e);
/* How many sequences of an evaluation a record has room for. */
int64_t choices_measured(const struct session *s);
/* Where the record lies and who computed it, for the file of the run; `a` keeps it. */
struct attributes choices_attributes(struct choices *c, struct arena *a);

#endif
