/* Reading the curves of a variant, aligning and smoothing them. */
#include "bundle.h"
#include "stats.h"
#include <math.h>
#include <stdlib.h>

bool bundle_whole(struct run *r)
{
    return run_look(r) && r->condition != STATUS_DIVERGED && r->condition != STATUS_FAILED;
}

static int compare_steps(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t unique_steps(const struct curve *curve, int n, int64_t **out)
{
    int64_t all = 0, kept = 0;
    for (int i = 0; i < n; i++) all += curve[i].rows;
    int64_t *step = *out = xcalloc((size_t)all + 1, sizeof *step);
    all = 0;
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < curve[i].rows; k++) step[all++] = curve[i].step[k];
    qsort(step, (size_t)all, sizeof *step, compare_steps);
    for (int64_t i = 0; i < all; i++)
        if (!kept || step[i] != step[kept - 1]) step[kept++] = step[i];
    return kept;
}

void bundle_smooth(double *to, const double *from, int64_t rows, int stride, double s)
{
    double mean = 0, weight = 0;
    for (int64_t i = 0; i < rows; i++) {
        double x = from[i * stride];
        to[i * stride] = x;
        if (!isfinite(x)) continue;
        mean = s * mean + (1 - s) * x;
        weight = s * weight + (1 - s);
        to[i * stride] = mean / weight;
    }
}

static void align(struct bundle *b, const struct curve *curve, double smooth)
{
    b->rows = unique_steps(curve, b->runs, &b->step);
    b->raw = xcalloc((size_t)(b->rows * b->runs) + 1, sizeof *b->raw);
    b->smooth = xcalloc((size_t)(b->rows * b->runs) + 1, sizeof *b->smooth);
    for (int i = 0; i < b->runs; i++) {
        for (int64_t row = 0, k = 0; row < b->rows; row++) {
            bool has = k < curve[i].rows && curve[i].step[k] == b->step[row];
            b->raw[row * b->runs + i] = has ? curve[i].value[k++] : NAN;
        }
        bundle_smooth(b->smooth + i, b->raw + i, b->rows, b->runs, smooth);
    }
}

int bundle_load(struct bundle *b, const struct runs *all, int variant, const char *name, read_curve *read,
                double smooth, struct metric *metric, struct err *e)
{
    struct curve *curve = xcalloc((size_t)all->n + 1, sizeof *curve);
    int bad = 0;
    *b = (struct bundle){ .name = variant < 0 ? all->run[0].name : all->study->variant[variant].name,
                          .replicate = xcalloc((size_t)all->n + 1, sizeof(int)) };
    for (int i = 0; i < all->n && !bad; i++) {
        struct run *r = &all->run[i];
        if (r->variant != variant || !bundle_whole(r)) continue;
        if (!metric_has(r, name)) { b->absent += run_look(r); continue; }
        bad = read(r, name, &curve[b->runs], metric, e) && run_look(r) ? -1 : 0;
        if (!bad && run_look(r)) b->replicate[b->runs++] = r->replicate;
    }
    if (!bad) align(b, curve, metric->series.group == STORE_TRAIN ? smooth : 0);
    for (int i = 0; i < b->runs; i++) curve_free(&curve[i]);
    free(curve);
    return bad;
}

void bundle_free(struct bundle *b)
{
    free(b->step);
    free(b->raw);
    free(b->smooth);
    free(b->replicate);
}

struct band bundle_band(const double *x, int n)
{
    struct band b = { 0, 0, INFINITY, -INFINITY };
    for (int i = 0; i < n; i++) {
        if (!isfinite(x[i])) continue;
        b.n++;
        b.mean += x[i];
        b.low = fmin(b.low, x[i]);
        b.high = fmax(b.high, x[i]);
    }
    b.mean = b.n ? b.mean / b.n : NAN;
    return b;
}

struct band bundle_difference(const struct bundle *v, int64_t row, const struct bundle *base, int64_t base_row)
{
    double *x = xcalloc((size_t)v->runs + 1, 2 * sizeof *x), *y = x + v->runs + 1;
    int n = 0;
    for (int i = 0; i < v->runs; i++)
        for (int k = 0; k < base->runs; k++) {
            double a = v->smooth[row * v->runs + i], b = base->smooth[base_row * base->runs + k];
            if (v->replicate[i] != base->replicate[k] || !isfinite(a) || !isfinite(b)) continue;
            x[n] = a - b;
            y[n++] = 0;
        }
    struct band band = bundle_band(x, n);
    struct contrast c = stats_paired(x, y, n, STATS_LEVEL);
    if (!isnan(c.half)) {
        band.low = c.delta - c.half;
        band.high = c.delta + c.half;
    }
    free(x);
    return band;
}
