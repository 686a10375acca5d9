/* What answers are worth: whether the right choice was taken, by several measures, and how near it was. */
#ifndef SLUICE_JUDGE_H
#define SLUICE_JUDGE_H

#include "exam.h"

/* of: NaN: does not apply to this question. share: 1 where it is right, 0 where it is not, 1/2 of a tie in a minimal
   pair. */
struct measure {
    const char *name, *unit, *about;
    enum better better;
    bool share;
    double (*of)(const struct answered *a);
};
extern const struct measure judge_measures[];
int judge_measure_count(void);

/* What an accuracy is held against: guessing, always the longest, always the shortest, the likeliest by itself. */
extern const struct measure judge_baselines[];
int judge_baseline_count(void);

#endif
