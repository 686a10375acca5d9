/* The answer of a study: every variant against the baseline, by pairs of runs that share a replicate. */
#ifndef SLUICE_COMPARE_H
#define SLUICE_COMPARE_H

#include "counting.h"
#include "runs.h"
#include "stats.h"

enum at { AT_END, AT_STEP, AT_TOKENS };
struct compare_options {
    const char *metric, *baseline, *family;     /* NULL: the study's own */
    enum at at; double where;                   /* the last row at or before this step or number of tokens */
};

/* What one run contributes. counted false: why says the reason ("diverged at step 210", "running, 120 of 400 steps").
   absent: its model has no such metric. untaught: its held-out loss is no better than counting tokens or guessing.
   collapsed: at its end a layer's experts were (routing.h).
   text: identity of what was measured on. */
struct reading {
    struct run *run;
    bool counted, absent, untaught, collapsed;
    double value, loss;                 /* of the metric; held-out loss at the run's end */
    int64_t step;
    char text[40], why[128];
};

/* HIGHER and LOWER are of metrics that are neither better. PARTIAL: better where it finishes, but it diverges more
   often. */
enum verdict {
    VERDICT_BASELINE, VERDICT_BETTER, VERDICT_WORSE, VERDICT_HIGHER, VERDICT_LOWER, VERDICT_PARTIAL, VERDICT_NONE,
    VERDICT_FEW, VERDICT_ABSENT, VERDICT_AHEAD
};

/* delta is variant minus baseline: negative means a lower value. */
struct arm {
    const struct variant *variant;
    int baseline;                       /* the arm that it is compared with; itself: it is a baseline */
    int total, n, first;                /* runs; of them counted; index of its first reading */
    int diverged, untaught, absent, collapsed;  /* of its runs */
    double mean, sd;
    struct contrast paired, welch;      /* against the baseline; paired.n is the number of pairs, welch is of a single
                                           test */
    double p;                           /* of the pairs, after the family's correction */
    double rho, detectable, median;     /* median: of the pairs' differences */
    int wins;                           /* pairs in which the variant is the better one; of neither, the higher one */
    struct spread spread;
    int rests, rests_on;                /* seeds without which the verdict is another, and the first such replicate */
    enum verdict verdict;
};

struct comparison {
    struct compare_options options;
    char metric[96], unit[32]; enum better better;
    bool known;                                     /* a run has the metric: unit and better are what it says */
    enum family family; int family_size;            /* of the variants that could be tested, whether or not their runs
                                                       finished */
    double alpha;                                   /* intervals are of level 1 - alpha */
    int baseline, replicates, n_arms, n_readings;   /* baseline: the study's own, or the one that was asked for */
    struct arm *arm; struct reading *reading;       /* readings by variant, then replicate */
    int64_t step_low, step_high;                    /* of the counted readings */
    struct counting floor;                          /* NaN: not to be had, why says it */
    char why_no_floor[256];
};

const struct arm *compare_baseline(const struct comparison *c, const struct arm *a);
bool compare_is_baseline(const struct comparison *c, int arm);
/* Whether what is compared was measured while a variant's positions saw later ones. */
bool compare_saw_later(const struct comparison *c, const struct arm *a);
int compare_study(const struct runs *runs, const struct compare_options *o, struct comparison **out, struct err *e);
void compare_free(struct comparison *c);

#endif
