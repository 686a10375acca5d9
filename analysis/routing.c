/* n: tokens of each expert of one layer in one step; its mean is that of the layer's own experts that compute: what
   idle ones get is no load (a layer that gives them half of all choices may be even). E: experts of the layer, K: of a
   token, T: tokens. */
#include "routing.h"
#include <math.h>
#include <stdlib.h>

enum { DEAD_WINDOW = 100, COLLAPSED = 20 };                 /* rows over which an expert must have been idle; that a
                                                               collapse lasts */
#define DEAD_SHARE 0.01                                     /* of the mean load */
#define DROWNED_SHARE 2.0                                   /* the same: more than an expert of capacity 2 computes */

struct sums { int64_t experts; double total, largest, least, squares; };

static struct sums sum_row(const double *n, int64_t experts)
{
    struct sums s = { .least = INFINITY };
    for (int64_t e = 0; e < experts; e++) {
        if (isnan(n[e])) continue;
        s.experts++;
        s.total += n[e];
        s.largest = fmax(s.largest, n[e]);
        s.least = fmin(s.least, n[e]);
        s.squares += n[e] * n[e];
    }
    return s;
}

static const double *row_of(const struct loads *l, int64_t row, int64_t layer)
{
    return l->tokens + (row * l->layers + layer) * l->experts;
}

/* Of one row; NaN where it has no token. */
typedef double measure(const double *n, int64_t experts);

static void each_row(const struct loads *l, int64_t layer, measure *of, double *out)
{
    for (int64_t t = 0; t < l->rows; t++) out[t * l->layers + layer] = of(row_of(l, t, layer), l->experts);
}

static double max_vio_of(const double *n, int64_t experts)
{
    struct sums s = sum_row(n, experts);
    return s.total > 0 ? s.largest * (double)s.experts / s.total - 1 : NAN;
}

static double min_vio_of(const double *n, int64_t experts)
{
    struct sums s = sum_row(n, experts);
    return s.total > 0 ? s.least * (double)s.experts / s.total - 1 : NAN;
}

static double load_cv2_of(const double *n, int64_t experts)
{
    struct sums s = sum_row(n, experts);
    return s.total > 0 ? fmax(0, s.squares * (double)s.experts / (s.total * s.total) - 1) : NAN;
}

static double load_entropy_of(const double *n, int64_t experts)
{
    struct sums s = sum_row(n, experts);
    double entropy = 0;
    for (int64_t e = 0; e < experts; e++)
        if (n[e] > 0) entropy -= n[e] / s.total * log(n[e] / s.total);
    return s.total > 0 ? entropy : NAN;
}

static double effective_experts_of(const double *n, int64_t experts) { return exp(load_entropy_of(n, experts)); }

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* sum over i of (2 i - E - 1) n_(i) / (E sum n), n_(1) the smallest load. */
static double load_gini_of(const double *n, int64_t experts)
{
    struct sums s = sum_row(n, experts);
    double *sorted = xcalloc((size_t)experts, sizeof *sorted), sum = 0;
    int64_t own = 0;
    for (int64_t e = 0; e < experts; e++) if (!isnan(n[e])) sorted[own++] = n[e];
    qsort(sorted, (size_t)own, sizeof *sorted, ascending);
    for (int64_t i = 0; i < own; i++) sum += (double)(2 * i + 1 - own) * sorted[i];
    free(sorted);
    return s.total > 0 ? sum / ((double)own * s.total) : NAN;
}

static void max_vio(const struct loads *l, int64_t layer, double *out) { each_row(l, layer, max_vio_of, out); }
static void min_vio(const struct loads *l, int64_t layer, double *out) { each_row(l, layer, min_vio_of, out); }
static void load_cv2(const struct loads *l, int64_t layer, double *out) { each_row(l, layer, load_cv2_of, out); }
static void load_gini(const struct loads *l, int64_t layer, double *out) { each_row(l, layer, load_gini_of, out); }

static void load_entropy(const struct loads *l, int64_t layer, double *out)
{
    each_row(l, layer, load_entropy_of, out);
}

static void effective_experts(const struct loads *l, int64_t layer, double *out)
{
    each_row(l, layer, effective_experts_of, out);
}

/* Of all rows up to each; the last is the whole run's. */
static void max_vio_global(const struct loads *l, int64_t layer, double *out)
{
    double *sum = xcalloc((size_t)l->experts, sizeof *sum);
    for (int64_t t = 0; t < l->rows; t++) {
        const double *n = row_of(l, t, layer);
        for (int64_t e = 0; e < l->experts; e++) sum[e] += n[e];
        out[t * l->layers + layer] = max_vio_of(sum, l->experts);
    }
    free(sum);
}

/* What chance leaves of max_vio: each load has mean K T / E and variance K T / E (1 - K / E), and the largest of E
   normal draws is sqrt(2 ln E) deviations above their mean; 10 to 20 % more than is measured. */
static void max_vio_floor(const struct loads *l, int64_t layer, double *out)
{
    for (int64_t t = 0; t < l->rows; t++) {
        struct sums s = sum_row(row_of(l, t, layer), l->experts);
        double E = (double)s.experts, chance = l->top_k[layer] / (E + (l->idle ? (double)l->idle[layer] : 0));
        out[t * l->layers + layer] = s.total > 0 ? sqrt((1 - chance) * E / s.total) * sqrt(2 * log(E)) : NAN;
    }
}

/* Share of experts whose tokens of the last DEAD_WINDOW rows are fewer, or more, than a share of the mean. */
static void window_frac(const struct loads *l, int64_t layer, double share, bool above, double *out)
{
    double *window = xcalloc((size_t)l->experts, sizeof *window);
    for (int64_t t = 0; t < l->rows; t++) {
        const double *enter = row_of(l, t, layer), *leave = t < DEAD_WINDOW ? NULL : row_of(l, t - DEAD_WINDOW, layer);
        for (int64_t e = 0; e < l->experts; e++) window[e] += enter[e] - (leave ? leave[e] : 0);
        struct sums s = sum_row(window, l->experts);
        double beyond = 0, bound = share * s.total;
        for (int64_t e = 0; e < l->experts; e++) {
            double load = window[e] * (double)s.experts;    /* over the mean, times the total; NaN is neither */
            beyond += above ? load > bound : load < bound;
        }
        out[t * l->layers + layer] = s.total > 0 ? beyond / (double)s.experts : NAN;
    }
    free(window);
}

static void dead_frac(const struct loads *l, int64_t layer, double *out)
{
    window_frac(l, layer, DEAD_SHARE, false, out);
}

static void drowned_frac(const struct loads *l, int64_t layer, double *out)
{
    window_frac(l, layer, DROWNED_SHARE, true, out);
}

/* One row looks collapsed: hardly more experts work than a token has, or at most as few as it could do with. Where a
   token takes all experts nothing can collapse. */
static bool is_narrow(const double *n, int64_t experts, double top_k, double dead_share)
{
    double E = (double)sum_row(n, experts).experts;
    if (top_k >= E || E < 2) return false;
    return effective_experts_of(n, experts) < fmax(top_k, E / 4) - 1e-9 ||
           max_vio_of(n, experts) > 0.8 * (E / top_k - 1) || dead_share * E > E - top_k - 0.5;
}

/* Our choice of rule, as are the rows that it must last. dead_frac fills out first. */
static void collapsed(const struct loads *l, int64_t layer, double *out)
{
    int lasted = 0;
    dead_frac(l, layer, out);
    for (int64_t t = 0; t < l->rows; t++) {
        double *at = &out[t * l->layers + layer];
        lasted = is_narrow(row_of(l, t, layer), l->experts, l->top_k[layer], *at) ? lasted + 1 : 0;
        if (!isnan(*at)) *at = lasted >= COLLAPSED;
    }
}

static void drop_rate(const struct loads *l, int64_t layer, double *out)
{
    for (int64_t t = 0; t < l->rows; t++) {
        double kept = sum_row(row_of(l, t, layer), l->experts).total, dropped = l->needed[0][t * l->layers + layer];
        out[t * l->layers + layer] = kept + dropped > 0 ? dropped / (kept + dropped) : NAN;
    }
}

/* H(mean share), of all that can be chosen: how many of them the router would use if it drew at random. */
static void marginal_entropy(const struct loads *l, int64_t layer, double *out)
{
    for (int64_t t = 0; t < l->rows; t++)
        out[t * l->layers + layer] = load_entropy_of(l->needed[0] + (t * l->layers + layer) * l->experts, l->experts);
}

/* H(mean share) - mean H(share): what the token says of the expert. */
static void mutual_information(const struct loads *l, int64_t layer, double *out)
{
    marginal_entropy(l, layer, out);
    for (int64_t t = 0; t < l->rows; t++) out[t * l->layers + layer] -= l->needed[1][t * l->layers + layer];
}

double *routing_computing(const struct loads *l)
{
    double *tokens = xmalloc((size_t)(l->rows * l->layers * l->experts + 1) * sizeof *tokens);
    for (int64_t i = 0; i < l->rows * l->layers; i++) {
        const double *n = l->tokens + i * l->experts;
        int64_t own = sum_row(n, l->experts).experts - l->idle[i % l->layers];
        for (int64_t e = 0; e < l->experts; e++) tokens[i * l->experts + e] = e < own ? n[e] : NAN;
    }
    return tokens;
}

void routing_derive(const struct derived *d, const struct loads *l, double *out)
{
    struct loads of = *l;
    double *own = l->idle && !d->of_choices ? routing_computing(l) : NULL;
    if (own) of.tokens = own;
    for (int64_t layer = 0; layer < l->layers; layer++) d->layer(&of, layer, out);
    free(own);
}

const char *const routing_routers[] = { "", "attention_", NULL };

const struct derived routing_derived[] = {
    { "max_vio", "", "(largest load - mean load) / mean load of the layer's experts", BETTER_LOWER, .layer = max_vio },
    { "load_entropy", "nat", "entropy of the shares of tokens that the layer's experts get", BETTER_HIGHER,
      .layer = load_entropy },
    { "dead_frac", "", "share of experts below 1 % of the mean load over the last 100 steps", BETTER_LOWER,
      .layer = dead_frac },
    { "drowned_frac", "", "share of experts above twice the mean load over the last 100 steps", BETTER_LOWER,
      .layer = drowned_frac },
    { "drop_rate", "", "share of assignments that found no room", BETTER_LOWER, .layer = drop_rate,
      .needs = { "expert_dropped" }, .of_choices = true },
    { "max_vio_floor", "", "max_vio that random routing has about", BETTER_NONE, .layer = max_vio_floor },
    { "max_vio_global", "", "max_vio of the tokens of all steps so far", BETTER_LOWER, .layer = max_vio_global },
    { "min_vio", "", "(smallest load - mean load) / mean load of the layer's experts", BETTER_HIGHER,
      .layer = min_vio },
    { "load_cv2", "", "variance of the loads over their squared mean", BETTER_LOWER, .layer = load_cv2 },
    { "load_gini", "", "Gini coefficient of the loads", BETTER_LOWER, .layer = load_gini },
    { "effective_experts", "", "exp(load_entropy): experts that would have this entropy if they shared evenly",
      BETTER_HIGHER, .layer = effective_experts },
    { "collapsed", "", "1 where routing has been collapsed for 20 steps", BETTER_LOWER, .layer = collapsed },
    { "router_marginal_entropy", "nat", "entropy of the mean over tokens of the normalised score", BETTER_NONE,
      .layer = marginal_entropy, .needs = { "router_prob_mean" }, .of_choices = true },
    { "router_information", "nat", "mutual information of token and expert: router_marginal_entropy less "
      "router_token_entropy", BETTER_NONE, .layer = mutual_information,
      .needs = { "router_prob_mean", "router_token_entropy" }, .of_choices = true },
    { 0 }
};
