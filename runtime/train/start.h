/* The values that a run begins with where they are another's: init.from. */
#ifndef SLUICE_START_H
#define SLUICE_START_H

#include "study/study.h"
#include "train.h"

/* Fills what the map says of a state that is filled with draws. text: the checkpoint that was read. */
int start_load(const struct study *s, int point, struct session *session, char text[512], struct err *e);
/* The same of one file or checkpoint, whatever init.from.run says. */
int start_from(struct session *session, const char *path, uint64_t seed, struct err *e);
/* What the tensors of a variant are made of, as study_map. */
int start_map(const struct study *s, int variant, struct mapping *m, struct training_graph *of, struct arena *a,
              struct err *e);
/* For whoever plans: of variants that begin with files, whether these can be read and have all that the map asks for.
   Others study_resolve has checked. */
void start_check(const struct study *s, struct problems *problems);

#endif
