/* The runs of a study as they are on disk right now, finished or live. Nothing is written or locked for long. */
#ifndef SLUICE_RUNS_H
#define SLUICE_RUNS_H

#include "store.h"
#include "study.h"

/* What the run file says (store_status), and what it cannot say of itself. */
enum condition { CONDITION_PENDING = STATUS_COUNT, CONDITION_DEAD, CONDITION_UNREADABLE, CONDITION_COUNT };
const char *condition_name(int condition);

struct run {
    char *name, *path;                  /* "gated/3"; the run file */
    int variant, replicate;             /* -1, 0: a run file without its study */
    int condition;                      /* enum store_status or enum condition */
    struct reader *reader;              /* NULL when pending or unreadable */
    char *problem;                      /* why it is unreadable, else NULL */
    int64_t step, steps;                /* training steps committed, and asked for (0: not known) */
};
struct runs { struct study *study; int n; struct run *run; };           /* study: NULL for a lone run file */

/* path: a study's folder, a run's folder, or a run file. With a run, only that run is opened. */
int runs_open(const char *path, struct runs **out, struct err *e);
/* The same without opening a run file: every condition is pending. */
int runs_list(const char *path, struct runs **out, struct err *e);
void runs_close(struct runs *r);

bool runs_is_study(const char *path);   /* a folder with a study.json */
bool runs_is_alive(const char *file);   /* a process holds the lock beside this run file */
bool runs_are_tended(const struct runs *r);                            /* a process trains them, or will */

/* The value of a metric in the last committed row; NaN when there is none. */
double run_last(const struct run *r, const char *metric);

#endif
