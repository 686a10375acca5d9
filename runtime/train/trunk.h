/* Runs that begin with steps of another: F. Hagele 2024 cools down from checkpoints of one trunk that went on. */
#ifndef SLUICE_TRUNK_H
#define SLUICE_TRUNK_H

#include "checkpoint.h"
#include "metrics.h"
#include "train.h"

/* A checkpoint to begin at, of the run in `dir`, which lies in the study's folder. Where there is none, `earlier` may
   name an earlier run of fewer steps that differs in these and the schedule alone, and is alike for `alike` steps. */
struct trunk { char dir[256], checkpoint[4608], config_hash[33], earlier[256]; int64_t step, alike; };

struct trunk_wanted {
    const struct study *study; const struct point *point; const json_t *config; const struct corpus_info *data;
    struct origin origin; bool any_origin, is_new;
};

/* The farthest that lies beyond a step, of all runs of the study's folder; dir "": there is none. */
void trunk_find(struct trunk *out, const struct trunk_wanted *w, int64_t beyond);
/* Appends the rows of its steps. */
int trunk_rows(const struct trunk *trunk, const struct study *s, struct store *to, const struct metrics *train,
               const struct metrics *eval, struct err *e);

/* Of points whose trunk study_trunks found */
bool trunk_is_there(const struct study *s, int point);              /* what one waits for, or what it made of it */
bool trunk_is_left(const struct study *s, int point, int64_t step); /* by another, after this step */
struct held trunk_held(const struct study *s, int point);           /* where others are still to leave it, with room
                                                                       for one more */
void trunk_prune(const struct study *s, int point, int keep);       /* all checkpoints but these and the newest */
void trunk_release(const struct study *s, int point);               /* what its trunk, when it is over, held for it */

#endif
