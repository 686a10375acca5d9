/* Spikes: a value is one where it is above the 128 before it by six standard deviations (OLMo-core's SpikeScore), or by
   six of those that their median absolute deviation says. The first rule is blind for 128 steps after a spike, which
   widens its deviation; the second is not. */
#include "spikes.h"
#include "base/moments.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 128, SCORED = 10000 };
static const double sigmas = 6, least = 1e-10, deviation_of_mad = 1.4826;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the window. */
static double median(double *x)
{
    qsort(x, WINDOW, sizeof *x, by_value);
    return (x[WINDOW / 2 - 1] + x[WINDOW / 2]) / 2;
}

static bool beyond_mean(const double *window, double value)
{
    struct moments m = moments_of(window, WINDOW);
    return m.deviation >= least && value > m.mean + sigmas * m.deviation;
}

static bool beyond_median(const double *window, double value)
{
    double sorted[WINDOW];
    memcpy(sorted, window, sizeof sorted);
    double middle = median(sorted);
    for (int i = 0; i < WINDOW; i++) sorted[i] = fabs(window[i] - middle);
    double std = deviation_of_mad * median(sorted);
    return std >= least && value > middle + sigmas * std;
}

/* Sets out[i] where x[i] is a spike. Values that are no finite numbers are one at most, and join no window. */
static void mark(const double *x, int64_t n, bool (*beyond)(const double *window, double value), double *out)
{
    double window[WINDOW];
    int64_t known = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i])) continue;
        if (known >= WINDOW && beyond(window, x[i])) out[i] = 1;
        if (isfinite(x[i])) window[known++ % WINDOW] = x[i];
    }
}

static void mark_both(const double *loss, const double *norm, int64_t n, bool (*beyond)(const double *, double),
                      double *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    mark(loss, n, beyond, out);
    mark(norm, n, beyond, out);
}

static void spike(const double *loss, const double *norm, int64_t n, double *out)
{
    mark_both(loss, norm, n, beyond_mean, out);
}

static void robust(const double *loss, const double *norm, int64_t n, double *out)
{
    mark_both(loss, norm, n, beyond_median, out);
}

static void score(const double *loss, const double *norm, int64_t n, double *out)
{
    double *is = xcalloc((size_t)n + 1, sizeof *is), some = 0;
    spike(loss, norm, n, is);
    for (int64_t i = 0; i < n; i++) {
        some += is[i] - (i >= SCORED ? is[i - SCORED] : 0);
        out[i] = some / (double)(i < SCORED ? i + 1 : SCORED);
    }
    free(is);
}

const struct spiked spikes_derived[] = {
    { "spike", "1 where loss or gradient norm is six standard deviations above the mean of the 128 steps before",
      spike },
    { "spike_robust", "the same by median and median absolute deviation, which a spike does not widen", robust },
    { "spike_score", "share of spikes in the last 10000 steps", score },
    { 0 }
};
