/* The answer of a study: every variant against the baseline, by pairs of runs that share a replicate. */
#ifndef SLUICE_COMPARE_H
#define SLUICE_COMPARE_H

#include "runs.h"
#include "stats.h"

enum at { AT_END, AT_STEP, AT_TOKENS };
struct compare_options {
    const char *metric, *baseline;      /* NULL: the study's own */
    enum at at; double where;           /* the last row at or before this step or number of tokens */
    bool higher;                        /* larger values are better; otherwise lower is, as for every loss */
};

/* What one run contributes. counted false: why says the reason ("diverged at step 210", "running, 120 of 400 steps"). */
struct reading { const struct run *run; bool counted; double value; int64_t step; const char *text; char why[128]; };   /* text: identity of what was measured on */

enum verdict { VERDICT_BASELINE, VERDICT_BETTER, VERDICT_WORSE, VERDICT_NONE, VERDICT_FEW };

/* delta is variant minus baseline: negative means a lower value, which is better unless `higher` was asked. */
struct arm {
    const struct variant *variant;
    int total, n, first;                /* runs; of them counted; index of its first reading */
    double mean, sd;
    struct contrast paired, welch;      /* against the baseline; paired.n is the number of pairs */
    double rho, detectable, p_holm;
    enum verdict verdict;
};

struct comparison {
    struct compare_options options;
    char metric[96], unit[32];
    int baseline, n_arms, n_readings, tests;        /* tests: p-values that Holm's correction is over */
    struct arm *arm; struct reading *reading;       /* readings by variant, then replicate */
    int64_t step_low, step_high;                    /* of the counted readings */
};

int compare_study(const struct runs *runs, const struct compare_options *o, struct comparison **out, struct err *e);
void compare_free(struct comparison *c);

#endif
