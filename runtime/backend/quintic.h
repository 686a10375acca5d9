/* The polynomials with which Muon makes a matrix orthogonal: each step takes singular values s to a s + b s^3 + c s^5.
       jordan  one that lets small ones grow fast and large ones wander in [.68, 1.14] (Jordan 2024)
       tuned   five in a row, ending within [.97, 1.08]
       polar   Polar Express (Amsel 2025, arXiv 2505.16932), for 5 steps, safety 2e-2, cushion 2
       exact   jordan's, but the last two are (2, -1.5, .5), which go to 1: within 5e-4 after 8 and 2
   Where a row has ended, its last one is repeated. */
#ifndef SLUICE_QUINTIC_H
#define SLUICE_QUINTIC_H

#include "graph/attributes.h"

struct quintic { double a, b, c; };

static inline struct quintic quintic_of(int kind, int step, int steps)
{
    enum { ROW = 5 };
    static const struct quintic jordan = { 3.4445, -4.7750, 2.0315 }, one = { 2, -1.5, 0.5 }, tuned[ROW] = {
        { 4.0848, -6.8946, 2.9270 }, { 3.9505, -6.3029, 2.6377 }, { 3.7418, -5.5913, 2.3037 },
        { 2.8769, -3.1427, 1.2046 }, { 2.8366, -3.0525, 1.2012 },
    }, polar[ROW] = {
        { 8.156554524902461, -22.48329292557795, 15.878769915207462 },
        { 4.042929935166739, -2.808917465908714, 0.5000178451051316 },
        { 3.8916678022926607, -2.772484153217685, 0.5060648178503393 },
        { 3.285753657755655, -2.3681294933425376, 0.46449024233003106 },
        { 2.3465413258596377, -1.7097828382687081, 0.42323551169305323 },
    };
    int last = step < ROW ? step : ROW - 1;
    if (kind == QUINTIC_TUNED) return tuned[last];
    if (kind == QUINTIC_POLAR) return polar[last];
    return kind == QUINTIC_EXACT && step >= steps - 2 ? one : jordan;
}

/* What a matrix of Frobenius norm `norm` is divided by before the first. */
static inline double quintic_divisor(int kind, double norm)
{
    return kind == QUINTIC_POLAR ? 1.02 * norm + 1e-6 : norm + 1e-7;
}

#endif
