/* The runs of a study as they are on disk right now, finished or live. Nothing is written or locked for long, and of
   any number of runs one has its file open. */
#ifndef SLUICE_RUNS_H
#define SLUICE_RUNS_H

#include "store/store.h"
#include "study/study.h"

/* What the run file says (store_status), and what it cannot say of itself. */
enum condition { CONDITION_PENDING = STATUS_COUNT, CONDITION_DEAD, CONDITION_UNREADABLE, CONDITION_COUNT };
const char *condition_name(int condition);

struct run {
    char *name, *path;                  /* "gated/3"; the run file */
    int variant, replicate;             /* -1, 0: a run that the study does not name, or without a study */
    int64_t steps;                      /* asked for; 0: not known */
    /* What its file says, once run_look has been called: */
    int condition;                      /* enum store_status or enum condition */
    char *problem;                      /* why it is unreadable, else NULL */
    int64_t step, rows;                 /* the last training step that is committed, and how many are */
    struct runs *all;
};
struct runs {
    struct study *study;                /* NULL for a lone run file */
    int n, n_earlier; struct run *run;
    struct reader *reader; const struct run *open;          /* the one that is open, and whose it is */
};
/* After the n runs that the study names come those in its folder that it does not name any more. */

/* path: a study's folder, a run's folder, or a run file: of a run only that one. No run file is opened. */
int runs_open(const char *path, struct runs **out, struct err *e);
/* Counts the earlier runs among the others; they have a study, and variant -1. */
void runs_add_earlier(struct runs *r);
/* Of a study the run of a variant, NULL: the baseline; a run that was opened alone is itself the choice. */
struct run *runs_choose(const struct runs *all, const char *variant, int replicate, struct err *e);
void runs_close(struct runs *r);

bool runs_is_study(const char *path);   /* a folder with a study.json */
bool runs_is_alive(const char *file);   /* a process holds the lock beside this run file */
bool runs_are_tended(const struct runs *r);                            /* a process trains them, or will */

/* Looks into its file, the first time; later it stays what it was then. True: there is one, and it can be read. */
bool run_look(struct run *r);
/* Its file, open until another run's is asked for; NULL where run_look says false. */
struct reader *run_reader(struct run *r);
/* A file of which one part could not be read is trusted in none. */
void run_distrust(struct run *r, const char *why);
/* Valid until another run's file is asked for; "" when absent, or when the run has become unreadable. */
const char *run_text(struct run *r, const char *group, const char *attribute);
const char *run_config(struct run *r);
const char *run_script(struct run *r);

#endif
