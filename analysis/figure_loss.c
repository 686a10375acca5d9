/* Curves of every variant: the mean over replicates in a band from the lowest to the highest, and below it the paired
   difference to the baseline. A smoothed line is drawn over the raw one, never instead of it. */
#include "figure.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 500 };                                      /* drawn per curve; more would not be seen */

/* One variant: rows by step, columns by run. raw and smooth are NaN where a run has no such row. */
struct bundle { int variant, runs; int64_t rows; int64_t *step; double *raw, *smooth; int *replicate; };

static bool is_whole(const struct run *r)
{
    return r->reader && r->condition != STATUS_DIVERGED && r->condition != STATUS_FAILED;
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

/* Exponential mean with the start's bias taken out: m = s m + (1-s) x, divided by 1 - s^t. */
static void smooth_into(double *to, const double *from, int64_t rows, int stride, double s)
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
        smooth_into(b->smooth + i, b->raw + i, b->rows, b->runs, smooth);
    }
}

/* Curves of a variant's runs (variant -1: the lone run); diverged and failed ones are drawn apart. */
static int load_bundle(struct bundle *b, const struct runs *all, int variant, const char *metric, double smooth, bool *is_train, char unit[32], struct err *e)
{
    struct curve *curve = xcalloc((size_t)all->n + 1, sizeof *curve);
    struct metric m;
    int bad = 0;
    *b = (struct bundle){ .variant = variant, .replicate = xcalloc((size_t)all->n + 1, sizeof(int)) };
    for (int i = 0; i < all->n && !bad; i++) {
        const struct run *r = &all->run[i];
        if (r->variant != variant || !is_whole(r)) continue;
        bad = metric_scalar(r->reader, metric, &curve[b->runs], &m, e);
        if (bad) break;
        *is_train = m.series.group == STORE_TRAIN;
        snprintf(unit, 32, "%s", m.series.unit);
        b->replicate[b->runs++] = r->replicate;
    }
    if (!bad) align(b, curve, *is_train ? smooth : 0);
    for (int i = 0; i < b->runs; i++) curve_free(&curve[i]);
    free(curve);
    return bad;
}

static void free_bundle(struct bundle *b)
{
    free(b->step);
    free(b->raw);
    free(b->smooth);
    free(b->replicate);
}

struct band { int n; double mean, low, high; };

static struct band band_of(const double *x, int n)
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

static bool drawn(int64_t row, int64_t rows)
{
    int64_t stride = rows / POINTS + 1;
    return row % stride == 0 || row == rows - 1;
}

/* Data block $curveV: step, raw mean, smoothed mean, low, high. */
static void write_curve(FILE *gp, const struct bundle *b, int index)
{
    fprintf(gp, "$curve%d << END\n", index);
    for (int64_t row = 0; row < b->rows; row++) {
        struct band raw = band_of(b->raw + row * b->runs, b->runs), s = band_of(b->smooth + row * b->runs, b->runs);
        if (s.n && drawn(row, b->rows)) fprintf(gp, "%lld %.9g %.9g %.9g %.9g\n", (long long)b->step[row], raw.mean, s.mean, s.low, s.high);
    }
    fputs("END\n", gp);
}

/* Data block $deltaV: step, mean difference, and its 95 % interval, or the range of the pairs below four of them. */
static void write_delta(FILE *gp, const struct bundle *v, const struct bundle *base, int index)
{
    double *x = xcalloc((size_t)v->runs + 1, 2 * sizeof *x), *y = x + v->runs + 1, critical[64] = { 0 };
    fprintf(gp, "$delta%d << END\n", index);
    for (int64_t row = 0, k = 0; row < v->rows; row++) {
        while (k < base->rows && base->step[k] < v->step[row]) k++;
        if (k == base->rows || base->step[k] != v->step[row] || !drawn(row, v->rows)) continue;
        int n = 0;
        for (int i = 0; i < v->runs; i++)
            for (int j = 0; j < base->runs; j++) {
                double a = v->smooth[row * v->runs + i], b = base->smooth[k * base->runs + j];
                if (v->replicate[i] != base->replicate[j] || !isfinite(a) || !isfinite(b)) continue;
                x[n] = a - b;
                y[n++] = 0;
            }
        struct band band = band_of(x, n);
        if (n >= STATS_LEAST && n < COUNT(critical)) {
            if (critical[n] == 0) critical[n] = stats_t_quantile(0.975, n - 1);
            double half = critical[n] * stats_sd(x, n) / sqrt(n);
            band.low = band.mean - half;
            band.high = band.mean + half;
        }
        if (n) fprintf(gp, "%lld %.9g %.9g %.9g\n", (long long)v->step[row], band.mean, band.low, band.high);
    }
    fputs("END\n", gp);
    free(x);
}

/* Diverged and failed runs: data block $lostI, one each. */
static int write_lost(FILE *gp, const struct runs *all, const char *metric, double smooth, int *lost)
{
    int n = 0;
    for (int i = 0; i < all->n; i++) {
        const struct run *r = &all->run[i];
        struct curve c;
        struct err e;
        if (!r->reader || is_whole(r) || metric_scalar(r->reader, metric, &c, NULL, &e)) continue;
        smooth_into(c.value, c.value, c.rows, 1, smooth);
        fprintf(gp, "$lost%d << END\n", n);
        int64_t last = -1;
        for (int64_t row = 0; row < c.rows; row++) {
            if (isfinite(c.value[row])) last = row;
            if (isfinite(c.value[row]) && drawn(row, c.rows)) fprintf(gp, "%lld %.9g\n", (long long)c.step[row], c.value[row]);
        }
        if (last >= 0) fprintf(gp, "\n\n%lld %.9g\n", (long long)c.step[last], c.value[last]);
        fputs("END\n", gp);
        if (last >= 0) lost[n++] = i;
        curve_free(&c);
    }
    return n;
}

/* The first twentieth of a loss curve would flatten all the rest: the axis shows what comes after it. */
static void set_range(FILE *gp, const struct bundle *b, int n)
{
    double low = INFINITY, high = -INFINITY;
    for (int v = 0; v < n; v++)
        for (int64_t row = 0; row < b[v].rows; row++) {
            struct band band = band_of(b[v].smooth + row * b[v].runs, b[v].runs);
            if (!band.n || (double)b[v].step[row] < 0.05 * (double)b[v].step[b[v].rows - 1]) continue;
            low = fmin(low, band.low);
            high = fmax(high, band.high);
        }
    if (low < high) fprintf(gp, "set yrange [%.9g:%.9g]\n", low - 0.04 * (high - low), high + 0.04 * (high - low));
}

static const char *name_of(const struct runs *all, int variant)
{
    return variant < 0 ? all->run[0].name : all->study->variant[variant].name;
}

static void plot_curves(FILE *gp, const struct runs *all, const struct bundle *b, int n, const int *lost, int n_lost, bool smoothed)
{
    fputs("plot \\\n", gp);
    for (int v = 0; v < n; v++)
        if (b[v].runs > 1) fprintf(gp, " $curve%d using 1:4:5 with filledcurves fillcolor rgb '%s' fillstyle transparent solid 0.18 notitle, \\\n", v, figure_color(v));
    for (int v = 0; v < n && smoothed; v++)
        if (b[v].runs) fprintf(gp, " $curve%d using 1:2 with lines linewidth 0.6 linecolor rgb '#60%s' notitle, \\\n", v, figure_color(v) + 1);
    for (int i = 0; i < n_lost; i++) {
        int v = all->run[lost[i]].variant < 0 ? 0 : all->run[lost[i]].variant;
        fprintf(gp, " $lost%d index 0 with lines linewidth 1 dashtype 3 linecolor rgb '%s' notitle, ", i, figure_color(v));
        fprintf(gp, "$lost%d index 1 with points pointtype 2 pointsize 1 linewidth 2 linecolor rgb '%s' notitle, \\\n", i, figure_color(v));
    }
    for (int v = 0; v < n; v++) {
        char title[128];
        if (!b[v].runs) continue;
        snprintf(title, sizeof title, "%.100s (n = %d)", name_of(all, b[v].variant), b[v].runs);
        fprintf(gp, " $curve%d using 1:3 with lines linewidth 2 linecolor rgb '%s' dashtype %d title ", v, figure_color(v), figure_dash(v));
        figure_quote(gp, title);
        fputs(", \\\n", gp);
    }
    fputs(" 1/0 notitle\n", gp);
}

static void plot_deltas(FILE *gp, const struct bundle *b, int n, int baseline)
{
    fputs("plot 0 with lines linewidth 1 linecolor rgb '#606060' notitle", gp);
    for (int v = 0; v < n; v++) {
        if (v == baseline || !b[v].runs) continue;
        fprintf(gp, ", \\\n $delta%d using 1:3:4 with filledcurves fillcolor rgb '%s' fillstyle transparent solid 0.18 notitle", v, figure_color(v));
        fprintf(gp, ", \\\n $delta%d using 1:2 with lines linewidth 2 linecolor rgb '%s' dashtype %d notitle", v, figure_color(v), figure_dash(v));
    }
    fputc('\n', gp);
}

static int draw(struct canvas *c, const struct runs *all, const struct plot_options *o, struct err *e)
{
    int n = all->study ? all->study->n_variants : 1, n_lost = 0, bad = 0, with_runs = 0, *lost = xcalloc((size_t)all->n + 1, sizeof *lost);
    const char *metric = o->metric ? o->metric : all->study ? all->study->primary : "eval.loss";
    double smooth = isnan(o->smooth) ? 0.9 : o->smooth;
    bool is_train = false, pairs = all->study && n > 1;
    char unit[32] = "";
    struct bundle *b = xcalloc((size_t)n, sizeof *b);
    for (int v = 0; v < n && !bad; v++) {
        bad = load_bundle(&b[v], all, all->study ? v : -1, metric, smooth, &is_train, unit, e);
        with_runs += b[v].runs > 0;
    }
    if (!bad && !with_runs) bad = err_set(e, "no run has values of %s yet", metric);
    if (!bad) {
        int baseline = all->study ? all->study->baseline : 0;
        for (int v = 0; v < n; v++) if (b[v].runs) write_curve(c->gp, &b[v], v);
        for (int v = 0; v < n && pairs; v++) if (v != baseline && b[v].runs) write_delta(c->gp, &b[v], &b[baseline], v);
        n_lost = write_lost(c->gp, all, metric, is_train ? smooth : 0, lost);
        c->height = pairs ? 760 : 560;
        fputs("set lmargin at screen 0.11\nset rmargin at screen 0.76\nset key at screen 0.78, screen 0.93 left top vertical Left reverse samplen 1.6 spacing 1.25\n", c->gp);
        if (pairs) fputs("set multiplot\nset tmargin at screen 0.93\nset bmargin at screen 0.46\nset format x ''\n", c->gp);
        else fputs("set tmargin at screen 0.91\nset bmargin at screen 0.17\n", c->gp);
        figure_title(c, "%s: %s", all->study ? all->study->name : all->run[0].name, metric);
        char smoothing[80] = "";
        if (is_train && smooth > 0) snprintf(smoothing, sizeof smoothing, " Exponential mean %.4g over the raw line.", smooth);
        figure_caption(c, "Line: mean of n runs; band: lowest to highest.%s%s%s", smoothing, pairs ? " Difference: 95 % interval of the pairs (range below 4)." : "",
                       n_lost ? " Dotted, ending in ×: diverged or failed." : "");
        figure_axis(c, "y", metric, unit);
        if (!pairs) figure_axis(c, "x", "step", "");
        set_range(c->gp, b, n);
        plot_curves(c->gp, all, b, n, lost, n_lost, is_train && smooth > 0);
        if (pairs) {
            fputs("unset label 101\nunset label 102\nset tmargin at screen 0.41\nset bmargin at screen 0.13\nset format x\nset autoscale y\n", c->gp);
            figure_axis(c, "x", "step", "");
            char text[128];
            snprintf(text, sizeof text, "minus %s", all->study->variant[baseline].name);
            figure_axis(c, "y", text, unit);
            plot_deltas(c->gp, b, n, baseline);
            fputs("unset multiplot\n", c->gp);
        }
    }
    for (int v = 0; v < n; v++) free_bundle(&b[v]);
    free(b);
    free(lost);
    return bad;
}

const struct figure figure_loss = { "loss", "curves with a band over replicates, and paired differences", draw };
