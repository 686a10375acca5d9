/* Curves of every variant, over steps or over positions: the mean over replicates in a band from the lowest to the
   highest, and below it the paired difference to the baseline. A smoothed line is drawn over the raw one, never instead
   of it. */
#include "bundle.h"
#include "figure.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 500, MARKED = 30 };                         /* rows drawn of a curve, more would not be seen; up to
                                                               which each gets a dot */
enum { LEFT = 95, RIGHT = 684, LONG = 24 };    /* pixels of the plot's edges; letters that fit beside the lower panel */

/* What one figure shows. */
struct scene {
    const struct runs *all;
    read_curve *read; const char *axis; int64_t trained;    /* over more positions than training had: how many it had */
    const char *metric; struct metric what; double smooth;  /* smooth 0: raw only */
    int n, baseline, n_lost; struct bundle *bundle;
    /* Diverged and failed runs with values, and what those span */
    int *lost; struct band lost_range; int64_t lost_first, lost_last;
    bool pairs;
};

static bool is_drawn(int64_t row, int64_t rows)
{
    int64_t stride = rows / POINTS + 1;
    return row % stride == 0 || row == rows - 1;
}

/* Data block $curveV: step, raw mean, smoothed mean, low, high. */
static void write_curve(FILE *gp, const struct bundle *b, int v)
{
    fprintf(gp, "$curve%d << END\n", v);
    for (int64_t row = 0; row < b->rows; row++) {
        struct band raw = bundle_band(b->raw + row * b->runs, b->runs),
                    s = bundle_band(b->smooth + row * b->runs, b->runs);
        if (s.n && is_drawn(row, b->rows))
            fprintf(gp, "%lld %.9g %.9g %.9g %.9g\n", (long long)b->step[row], raw.mean, s.mean, s.low, s.high);
    }
    fputs("END\n", gp);
}

/* Data block $deltaV: step, mean difference and its interval. Widens *range. */
static void write_delta(FILE *gp, const struct bundle *v, const struct bundle *base, int index, struct band *range)
{
    fprintf(gp, "$delta%d << END\n", index);
    for (int64_t row = 0, k = 0; row < v->rows; row++) {
        while (k < base->rows && base->step[k] < v->step[row]) k++;
        if (k == base->rows || base->step[k] != v->step[row] || !is_drawn(row, v->rows)) continue;
        struct band d = bundle_difference(v, row, base, k);
        if (!d.n) continue;
        fprintf(gp, "%lld %.9g %.9g %.9g\n", (long long)v->step[row], d.mean, d.low, d.high);
        if (20 * v->step[row] < v->step[v->rows - 1]) continue;
        range->low = fmin(range->low, d.low);
        range->high = fmax(range->high, d.high);
    }
    fputs("END\n", gp);
}

/* Data block $lostI of each run that diverged or failed: its curve, and after two blank lines its last point. */
static void write_lost(FILE *gp, struct scene *s)
{
    for (int i = 0; i < s->all->n; i++) {
        struct run *r = &s->all->run[i];
        struct curve c;
        struct err e;
        int64_t last = -1;
        if (!run_look(r) || bundle_whole(r) || s->read(r, s->metric, &c, &s->what, &e)) continue;
        bundle_smooth(c.value, c.value, c.rows, 1, s->smooth);
        for (int64_t row = 0; row < c.rows; row++) if (isfinite(c.value[row])) last = row;
        if (last >= 0) {
            fprintf(gp, "$lost%d << END\n", s->n_lost);
            for (int64_t row = 0; row <= last; row++) {
                if (!isfinite(c.value[row])) continue;
                s->lost_range.low = fmin(s->lost_range.low, c.value[row]);
                s->lost_range.high = fmax(s->lost_range.high, c.value[row]);
                if (is_drawn(row, last + 1)) fprintf(gp, "%lld %.9g\n", (long long)c.step[row], c.value[row]);
            }
            s->lost_first = !s->n_lost || c.step[0] < s->lost_first ? c.step[0] : s->lost_first;
            s->lost_last = c.step[last] > s->lost_last ? c.step[last] : s->lost_last;
            fprintf(gp, "\n\n%lld %.9g\nEND\n", (long long)c.step[last], c.value[last]);
            s->lost[s->n_lost++] = i;
        }
        curve_free(&c);
    }
}

/* The first twentieth of a loss curve would flatten all the rest: the axis shows what comes after it. */
static void set_ranges(const struct canvas *c, const struct scene *s)
{
    double low = INFINITY, high = -INFINITY, first = INFINITY, last = -INFINITY;
    for (int v = 0; v < s->n; v++) {
        const struct bundle *b = &s->bundle[v];
        for (int64_t row = 0; row < b->rows; row++) {
            struct band band = bundle_band(b->smooth + row * b->runs, b->runs);
            first = fmin(first, (double)b->step[row]);
            last = fmax(last, (double)b->step[row]);
            if (!band.n || 20 * b->step[row] < b->step[b->rows - 1]) continue;
            low = fmin(low, band.low);
            high = fmax(high, band.high);
        }
    }
    if (!(first <= last) && s->n_lost) {                    /* nothing but runs that were lost */
        low = s->lost_range.low;
        high = s->lost_range.high;
        first = (double)s->lost_first;
        last = (double)s->lost_last;
    }
    figure_range(c, "y", low, high);
    if (s->trained)
        fprintf(c->gp, "set arrow 190 from %lld, graph 0 to %lld, graph 1 nohead dashtype 2 linecolor rgb '#909090'\n",
                (long long)s->trained, (long long)s->trained);
    if (first <= last) fprintf(c->gp, "set xrange [%.9g:%.9g]\n", first - (first == last), last + (first == last));
    figure_tics(c, "x", first, last);
}

static const char *style_of(const struct bundle *b)
{
    return b->rows <= MARKED ? "linespoints pointtype 7 pointsize 0.5" : "lines";
}

static void plot_curves(FILE *gp, const struct scene *s)
{
    fputs("plot \\\n", gp);
    for (int v = 0; v < s->n; v++)
        if (s->bundle[v].runs > 1)
            fprintf(gp, " $curve%d using 1:4:5 with filledcurves fillcolor rgb '%s' fillstyle transparent solid 0.16 "
                        "notitle, \\\n", v, figure_color(v, s->baseline));
    for (int v = 0; v < s->n && s->smooth > 0; v++)
        if (s->bundle[v].runs)
            fprintf(gp, " $curve%d using 1:2 with lines linewidth 0.6 linecolor rgb '#80%s' notitle, \\\n", v,
                    figure_color(v, s->baseline) + 1);
    for (int i = 0; i < s->n_lost; i++) {
        int v = s->n > 1 ? s->all->run[s->lost[i]].variant : s->baseline;
        fprintf(gp, " $lost%d index 0 with lines linewidth 1.2 dashtype 2 linecolor rgb '%s' notitle, ", i,
                figure_color(v, s->baseline));
        fprintf(gp, "$lost%d index 1 with points pointtype 2 pointsize 1 linewidth 2 linecolor rgb '%s' notitle, \\\n",
                i, figure_color(v, s->baseline));
    }
    for (int v = 0; v < s->n; v++)
        if (s->bundle[v].runs)
            fprintf(gp, " $curve%d using 1:3 with %s linewidth 2 linecolor rgb '%s' dashtype %s notitle, \\\n", v,
                    style_of(&s->bundle[v]), figure_color(v, s->baseline), figure_dash(v, s->baseline));
    fputs(" 1/0 notitle\n", gp);
}

static void plot_deltas(FILE *gp, const struct scene *s)
{
    fputs("plot 0 with lines linewidth 1 linecolor rgb '#404040' notitle", gp);
    for (int part = 0; part < 2; part++)                    /* all bands, then all lines */
        for (int v = 0; v < s->n; v++) {
            const char *color = figure_color(v, s->baseline);
            if (v == s->baseline || !s->bundle[v].runs) continue;
            if (part == 0)
                fprintf(gp, ", \\\n $delta%d using 1:3:4 with filledcurves fillcolor rgb '%s' fillstyle transparent "
                            "solid 0.16 notitle", v, color);
            else
                fprintf(gp, ", \\\n $delta%d using 1:2 with %s linewidth 2 linecolor rgb '%s' dashtype %s notitle", v,
                        style_of(&s->bundle[v]), color, figure_dash(v, s->baseline));
        }
    fputc('\n', gp);
}

static void write_words(const struct canvas *c, const struct scene *s)
{
    char smoothing[80] = "";
    if (s->smooth > 0)
        snprintf(smoothing, sizeof smoothing, " Thick: exponential mean with constant %.3g over the raw line.",
                 s->smooth);
    if (s->all->n == 1) figure_title(c, "%s: %s", s->all->run[0].name, s->metric);
    else figure_title(c, "%s: %s", s->all->study->name, s->metric);
    const char *lost = s->n_lost ? " Dashed, ending in ×: diverged or failed." : "";
    const char *over = s->trained ? " Dashed: the length of training." : "";
    if (s->all->n == 1) figure_caption(c, "One run.%s%s%s", over, smoothing, lost);
    else figure_caption(c, "Line: mean of n runs; band: lowest to highest.%s%s%s%s", over, smoothing,
                        s->pairs ? "\nDifference: mean of the pairs with its pointwise 95 % interval (range below 4 "
                                   "pairs)." : "", lost);
    figure_axis(c, "y", s->metric, s->what.series.unit);
    figure_axis(c, "x", s->axis, "");
}

static void write_names(struct canvas *c, const struct scene *s)
{
    struct entry *entry = xcalloc((size_t)s->n, sizeof *entry);
    for (int v = 0; v < s->n; v++) {
        const struct bundle *b = &s->bundle[v];
        bool absent = !b->runs && b->absent;
        if (absent) snprintf(entry[v].text, sizeof entry[v].text, "%s (no such metric)", b->name);
        else if (!b->runs) snprintf(entry[v].text, sizeof entry[v].text, "%s (none finished)", b->name);
        else snprintf(entry[v].text, sizeof entry[v].text, "%s (n = %d)", b->name, b->runs);
        entry[v].color = absent ? NULL : figure_color(v, s->baseline);
        entry[v].dash = figure_dash(v, s->baseline);
    }
    figure_legend(c, RIGHT, entry, s->n);
    free(entry);
}

static void draw_scene(struct canvas *c, struct scene *s)
{
    FILE *gp = c->gp;
    struct band range = { 0, 0, 0, 0 };
    for (int v = 0; v < s->n; v++) if (s->bundle[v].runs) write_curve(gp, &s->bundle[v], v);
    for (int v = 0; v < s->n && s->pairs; v++)
        if (v != s->baseline && s->bundle[v].runs) write_delta(gp, &s->bundle[v], &s->bundle[s->baseline], v, &range);
    write_lost(gp, s);
    if (s->pairs) c->height = 720;
    write_names(c, s);
    fprintf(gp, "set lmargin at screen %.5f\nset rmargin at screen %.5f\n", (double)LEFT / c->width,
            (double)RIGHT / c->width);
    write_words(c, s);
    set_ranges(c, s);
    if (s->pairs) {
        fputs("set multiplot\nset tmargin at screen 0.93\nset bmargin at screen 0.47\nset format x ''\nunset xlabel\n",
              gp);
    }
    else fputs("set tmargin at screen 0.91\nset bmargin at screen 0.17\n", gp);
    plot_curves(gp, s);
    if (!s->pairs) return;
    char text[128];
    const char *base = s->bundle[s->baseline].name;
    snprintf(text, sizeof text, "minus %s", strlen(base) > LONG ? "the baseline" : base);
    fputs("unset label\nunset arrow\nset tmargin at screen 0.43\nset bmargin at screen 0.14\nset format x\n", gp);
    figure_axis(c, "x", s->axis, "");
    figure_axis(c, "y", text, s->what.series.unit);
    figure_range(c, "y", range.low, range.high);
    plot_deltas(gp, s);
    fputs("unset multiplot\n", gp);
}

/* A time constant of one fiftieth of the run: enough to tell the curves apart, too little to lag visibly. */
static double default_smooth(const struct runs *all)
{
    int64_t rows = 0;
    for (int i = 0; i < all->n; i++)
        if (run_look(&all->run[i]) && all->run[i].rows > rows) rows = all->run[i].rows;
    return rows > 50 ? 1 - 50 / (double)rows : 0;
}

/* Without a whole run there may be some that diverged or failed; else the metric is wrong, or it is too early. */
static int find_lost(struct scene *s, struct err *e)
{
    int read = 0, absent = 0, finite = 0;
    for (int i = 0; i < s->all->n; i++) {
        struct run *r = &s->all->run[i];
        struct curve c;
        if (!run_look(r)) continue;
        read++;
        if (s->read(r, s->metric, &c, &s->what, e)) { absent++; continue; }
        for (int64_t row = 0; row < c.rows; row++) finite += isfinite(c.value[row]) != 0;
        curve_free(&c);
    }
    if (read && absent == read) return -1;
    return finite ? 0 : err_set(e, "no run has a finite value of %s yet", s->metric);
}

static int draw(struct canvas *c, struct scene s, struct err *e)
{
    const struct runs *all = s.all;
    const struct study *study = all->study;
    bool single = !study || all->n == 1;
    int bad = 0, curves = 0, others = 0;
    s.n = single ? 1 : study->n_variants;
    s.baseline = single ? 0 : study->baseline;
    s.lost_range = (struct band){ 0, 0, INFINITY, -INFINITY };
    s.bundle = xcalloc((size_t)s.n, sizeof *s.bundle);
    s.lost = xcalloc((size_t)all->n + 1, sizeof *s.lost);
    for (int v = 0; v < s.n && !bad; v++) {
        bad = bundle_load(&s.bundle[v], all, single ? all->run[0].variant : v, s.metric, s.read, s.smooth,
                          &s.what, e);
        curves += s.bundle[v].runs;
        others += v == s.baseline ? 0 : s.bundle[v].runs;
    }
    s.pairs = others && s.bundle[s.baseline].runs;
    if (s.what.series.group == STORE_EVAL) s.smooth = 0;
    if (!bad && !curves) bad = find_lost(&s, e);
    if (!bad) draw_scene(c, &s);
    for (int v = 0; v < s.n; v++) bundle_free(&s.bundle[v]);
    free(s.bundle);
    free(s.lost);
    return bad;
}

static int draw_steps(struct canvas *c, const struct runs *all, const struct plot_options *o, struct err *e)
{
    const char *primary = all->study ? all->study->primary : "eval.loss";
    return draw(c, (struct scene){ .all = all, .read = metric_scalar, .axis = "step",
                                   .metric = o->metric ? o->metric : primary,
                                   .smooth = isnan(o->smooth) ? default_smooth(all) : o->smooth }, e);
}

static int draw_positions(struct canvas *c, const struct runs *all, const struct plot_options *o, struct err *e)
{
    struct scene s = { .all = all, .read = metric_positions, .axis = "position in the document (tokens)",
                       .metric = o->metric ? o->metric : "eval.position_loss" };
    for (int i = 0; i < all->n; i++) {
        int64_t trained = run_look(&all->run[i]) ? metric_trained(&all->run[i]) : 0;
        if (trained > s.trained) s.trained = trained;
    }
    return draw(c, s, e);
}

const struct figure figure_loss = { "loss", "curves with a band over replicates, and paired differences", draw_steps,
                                    false },
                    figure_position = { "position", "the same over positions, of the last evaluation", draw_positions,
                                        false };
