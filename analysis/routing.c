/* n: tokens of each expert of one layer in one step; its mean is that of the layer's own experts. */
#include "routing.h"
#include <math.h>
#include <stdlib.h>

enum { DEAD_WINDOW = 100 };                                 /* rows over which an expert must have been idle */
#define DEAD_SHARE 0.01                                     /* of the mean load */

struct sums { int64_t experts; double total, largest; };

static struct sums sum_row(const double *n, int64_t experts)
{
    struct sums s = { 0 };
    for (int64_t e = 0; e < experts; e++) {
        if (isnan(n[e])) continue;
        s.experts++;
        s.total += n[e];
        s.largest = fmax(s.largest, n[e]);
    }
    return s;
}

static const double *row_of(const struct loads *l, int64_t row, int64_t layer)
{
    return l->tokens + (row * l->layers + layer) * l->experts;
}

static void max_vio(const struct loads *l, int64_t layer, double *out)
{
    for (int64_t t = 0; t < l->rows; t++) {
        struct sums s = sum_row(row_of(l, t, layer), l->experts);
        out[t * l->layers + layer] = s.total > 0 ? s.largest * (double)s.experts / s.total - 1 : NAN;
    }
}

static void load_entropy(const struct loads *l, int64_t layer, double *out)
{
    for (int64_t t = 0; t < l->rows; t++) {
        const double *n = row_of(l, t, layer);
        struct sums s = sum_row(n, l->experts);
        double entropy = 0;
        for (int64_t e = 0; e < l->experts; e++)
            if (n[e] > 0) entropy -= n[e] / s.total * log(n[e] / s.total);
        out[t * l->layers + layer] = s.total > 0 ? entropy : NAN;
    }
}

static void dead_frac(const struct loads *l, int64_t layer, double *out)
{
    double *window = xcalloc((size_t)l->experts, sizeof *window);
    for (int64_t t = 0; t < l->rows; t++) {
        const double *enter = row_of(l, t, layer), *leave = t < DEAD_WINDOW ? NULL : row_of(l, t - DEAD_WINDOW, layer);
        for (int64_t e = 0; e < l->experts; e++) window[e] += enter[e] - (leave ? leave[e] : 0);
        struct sums s = sum_row(window, l->experts);
        double dead = 0;
        for (int64_t e = 0; e < l->experts; e++) dead += window[e] * (double)s.experts < DEAD_SHARE * s.total;
        out[t * l->layers + layer] = s.total > 0 ? dead / (double)s.experts : NAN;
    }
    free(window);
}

static void drop_rate(const struct loads *l, int64_t layer, double *out)
{
    for (int64_t t = 0; t < l->rows; t++) {
        double kept = sum_row(row_of(l, t, layer), l->experts).total, dropped = l->dropped[t * l->layers + layer];
        out[t * l->layers + layer] = kept + dropped > 0 ? dropped / (kept + dropped) : NAN;
    }
}

void routing_derive(const struct derived *d, const struct loads *l, double *out)
{
    for (int64_t layer = 0; layer < l->layers; layer++) d->layer(l, layer, out);
}

const struct derived routing_derived[] = {
    { "max_vio", "", "(largest load - mean load) / mean load of the layer's experts", BETTER_LOWER, false, max_vio },
    { "load_entropy", "nat", "entropy of the shares of tokens that the layer's experts get", BETTER_HIGHER, false,
      load_entropy },
    { "dead_frac", "", "share of experts below 1 % of the mean load over the last 100 steps", BETTER_LOWER, false,
      dead_frac },
    { "drop_rate", "", "share of assignments that found no room", BETTER_LOWER, true, drop_rate },
    { 0 }
};
