/* The final value of every run as a dot, the mean of each variant with its 95 % interval. */
#include "figure.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One line a variant, the first on top. */
static void write_dots(FILE *gp, const struct comparison *c, int arm)
{
    const struct arm *a = &c->arm[arm];
    double y = c->n_arms - arm,
           half = a->n >= STATS_LEAST ? stats_t_critical(STATS_LEVEL, a->n - 1) * a->sd / sqrt(a->n) : NAN;
    fprintf(gp, "$mean%d << END\n", arm);
    if (a->n) fprintf(gp, "%.9g %.9g %.9g\n", a->mean, isnan(half) ? 0 : half, y - 0.16);
    fprintf(gp, "END\n$dots%d << END\n", arm);
    for (int i = 0; i < a->total; i++)
        if (c->reading[a->first + i].counted) fprintf(gp, "%.9g %.9g\n", c->reading[a->first + i].value, y + 0.16);
    fputs("END\n", gp);
}

/* From the lowest to the highest dot or end of an interval. */
static void set_range(const struct canvas *canvas, const struct comparison *c)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < c->n_arms; i++) {
        const struct arm *a = &c->arm[i];
        double half = a->n >= STATS_LEAST ? stats_t_critical(STATS_LEVEL, a->n - 1) * a->sd / sqrt(a->n) : 0;
        if (a->n) { low = fmin(low, a->mean - half); high = fmax(high, a->mean + half); }
        for (int k = 0; k < a->total; k++) {
            if (!c->reading[a->first + k].counted) continue;
            low = fmin(low, c->reading[a->first + k].value);
            high = fmax(high, c->reading[a->first + k].value);
        }
    }
    figure_range(canvas, "x", low, high);
}

/* Left of the plot, which the canvas grows for. */
static void write_names(struct canvas *canvas, const struct comparison *c)
{
    FILE *gp = canvas->gp;
    int widest = 90;
    fputs("set ytics (", gp);
    for (int i = 0; i < c->n_arms; i++) {
        char text[160];
        if (i) fputs(", ", gp);
        snprintf(text, sizeof text, "%s (n = %d)", c->arm[i].variant->name, c->arm[i].n);
        widest = figure_width(text) > widest ? figure_width(text) : widest;
        figure_quote(gp, text);
        fprintf(gp, " %d", c->n_arms - i);
    }
    fputs(")\n", gp);
    canvas->width = widest + 740;
}

static int draw(struct canvas *canvas, const struct runs *runs, const struct plot_options *o, struct err *e)
{
    struct compare_options how = { .metric = o->metric };
    struct comparison *c;
    FILE *gp = canvas->gp;
    if (compare_study(runs, &how, &c, e)) return -1;
    const struct arm *base = &c->arm[runs->study->baseline];
    int counted = 0, missing = 0, untaught = 0;
    for (int i = 0; i < c->n_arms; i++) {
        counted += c->arm[i].n;
        missing += c->arm[i].total - c->arm[i].n;
        untaught += c->arm[i].untaught;
    }
    if (!counted) {
        compare_free(c);
        return err_set(e, "no finished run yet: nothing to draw");
    }
    for (int i = 0; i < c->n_arms; i++) write_dots(gp, c, i);
    canvas->height = 185 + 62 * c->n_arms;
    fprintf(gp, "set tmargin 3.2\nset bmargin 6.6\nset yrange [0.4:%d.6]\nset key off\n", c->n_arms);
    figure_title(canvas, "%s: final %s", runs->study->name, c->metric);
    char left_out[128] = "";
    if (missing)
        snprintf(left_out, sizeof left_out, "\nNot shown: %d run%s that did not finish or have no such metric.",
                 missing, missing == 1 ? "" : "s");
    if (untaught)
        snprintf(left_out + strlen(left_out), sizeof left_out - strlen(left_out),
                 "%s%d of these runs have not learned.", missing ? " " : "\n", untaught);
    figure_caption(canvas, "Small dots: runs; large: mean with its 95 %% interval (n ≥ %d); line: mean of %s.%s",
                   STATS_LEAST, base->variant->name, left_out);
    figure_axis(canvas, "x", c->metric, c->unit);
    set_range(canvas, c);
    write_names(canvas, c);
    if (base->n)
        fprintf(gp, "set arrow 1 from %.9g, graph 0 to %.9g, graph 1 nohead linecolor rgb '#909090' dashtype 2 back\n",
                base->mean, base->mean);
    fputs("set bars 0.6\nplot \\\n", gp);
    for (int i = 0; i < c->n_arms; i++)
        if (c->arm[i].n)
            fprintf(gp, " $dots%d using 1:2 with points pointtype 7 pointsize 0.7 linecolor rgb '#80%s', $mean%d using "
                        "1:3:2 with xerrorbars pointtype 7 pointsize 1.3 linewidth 2 linecolor rgb '%s', \\\n",
                i, figure_color(i, runs->study->baseline) + 1, i, figure_color(i, runs->study->baseline));
    fputs(" 1/0\n", gp);
    compare_free(c);
    return 0;
}

const struct figure figure_final = { "final", "final values with intervals", draw, false };
