/* What the pool of runs, the checks before it and its words share. */
#ifndef SLUICE_RUN_PRIVATE_H
#define SLUICE_RUN_PRIVATE_H

#include "run.h"

#include <signal.h>
#include <sys/types.h>

struct job { pid_t pid; int pipe, point; struct progress last; double began; bool settled; };

/* What this process has to do with a point: nothing yet, or another process has it; trains it; is done with it; lost
   it, which another process may mend. */
enum point_state { POINT_LEFT, POINT_HERE, POINT_OVER, POINT_KILLED };

struct runner {
    const struct study *study; const struct run_options *options;
    enum point_state *state; bool *over_before;             /* of each point; it was over when this process began */
    struct mesh_known { bool known; struct mesh mesh; } *mesh;      /* of each variant, once it is asked for */
    double *step_tokens;                                    /* of each variant, in the mean of its steps */
    struct job *job; int jobs, threads, rank, ranks, running, lines;
    int ended, finished, diverged, failed, killed, refused; /* refused: by ranks, which do not wait for others */
    int elsewhere, elsewhere_said;                          /* points that others train, when nothing else is left */
    enum outcome worst; bool stopping, at_once, gone, terminal; int stopped_by; double stopped;
    double began, seconds_of_work; int64_t tokens_of_work;  /* what this session's runs needed, for the estimate */
    int64_t steps_of_work, taken;                           /* steps that they trained, and took over from others */
    size_t room[BACKEND_KINDS];                             /* memory of the device, free before its runs began */
    sigset_t outside;                                       /* signals are heard only while waiting */
};

const char *run_name(const struct runner *r, int point, char out[128]);         /* "gated/3" */
enum backend_kind run_backend(const struct runner *r, int point);

/* Before the first run: what would fail every run alike is told once. OUTCOME_FINISHED: nothing does. Fills
   over_before. */
enum outcome run_check(struct runner *r);
/* A point that another process ended meanwhile must be of this program and device too. */
enum outcome run_check_other(const struct runner *r, int point);
bool run_is_elsewhere(const struct runner *r, int point);   /* another process trains it */
bool run_is_over(const struct runner *r, int point);        /* its file says so */

/* Words for a person, or JSON for a program. */
void run_show(struct runner *r);                            /* how far all runs are, redrawn */
void run_show_step(struct runner *r, const struct progress *p);
void run_show_end(struct runner *r, const struct job *j, enum outcome outcome, int killed_by);
void run_show_refusal(struct runner *r, enum outcome code); /* after what run_check said: how the study ends, for a
                                                               program */
void run_show_gone(struct runner *r);                       /* the study's folder */
void run_show_study(struct runner *r, enum outcome code);

#endif
