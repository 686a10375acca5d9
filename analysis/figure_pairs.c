/* Forest plot: the paired differences to the baseline, each pair a dot, the mean with its 95 % interval. */
#include "answer.h"
#include "figure.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PLOT = 540, WORDS = 270 };    /* pixels of the plot and right of it; left of it the names */

static void write_pairs(FILE *gp, const struct comparison *c, const struct arm *a, int index, double y)
{
    const struct arm *b = compare_baseline(c, a);
    fprintf(gp, "$mean%d << END\n%.9g %.9g %.9g\nEND\n$pairs%d << END\n", index, a->paired.delta,
            isnan(a->paired.half) ? 0 : a->paired.half, y - 0.14, index);
    for (int i = 0; i < a->total; i++)
        for (int k = 0; k < b->total; k++) {
            const struct reading *u = &c->reading[a->first + i], *v = &c->reading[b->first + k];
            if (u->counted && v->counted && u->run->replicate == v->run->replicate)
                fprintf(gp, "%.9g %.9g\n", u->value - v->value, y + 0.14);
        }
    fputs("END\n", gp);
}

/* From the lowest to the highest pair or end of an interval, zero included. */
static void set_range(const struct canvas *canvas, const struct comparison *c)
{
    double low = 0, high = 0;
    for (int i = 0; i < c->n_arms; i++) {
        const struct arm *a = &c->arm[i], *b = compare_baseline(c, a);
        if (compare_is_baseline(c, i) || !a->paired.n) continue;
        double half = isnan(a->paired.half) ? 0 : a->paired.half;
        low = fmin(low, a->paired.delta - half);
        high = fmax(high, a->paired.delta + half);
        for (int k = 0; k < a->total * b->total; k++) {
            const struct reading *u = &c->reading[a->first + k / b->total], *v = &c->reading[b->first + k % b->total];
            if (!u->counted || !v->counted || u->run->replicate != v->run->replicate) continue;
            low = fmin(low, u->value - v->value);
            high = fmax(high, u->value - v->value);
        }
    }
    figure_range(canvas, "x", low, high);
}

static void write_words(FILE *gp, const struct comparison *c, const struct arm *a, double y)
{
    char text[160], p[32] = "";
    int digits = answer_digits(c);
    if (!isnan(a->p)) answer_p(a->p, "   p < ", "   p = ", p);
    if (isnan(a->paired.half)) snprintf(text, sizeof text, "%+.*f   (%d pairs)", digits, a->paired.delta, a->paired.n);
    else snprintf(text, sizeof text, "%+.*f ± %.*f%s", digits, a->paired.delta, digits, a->paired.half, p);
    fputs("set label ", gp);
    figure_quote(gp, text);
    fprintf(gp, " at graph 1.02, first %.9g left font ',12'\n", y);
}

static int draw(struct canvas *canvas, const struct runs *runs, const struct plot_options *o, struct err *e)
{
    struct compare_options how = { .metric = o->metric };
    struct comparison *c;
    FILE *gp = canvas->gp;
    int lines = 0, widest = 0;
    if (compare_study(runs, &how, &c, e)) return -1;
    for (int i = 0; i < c->n_arms; i++) lines += !compare_is_baseline(c, i) && c->arm[i].paired.n > 0;
    if (!lines) {
        err_set(e, "no pair of runs has values of %s yet: nothing to draw", c->metric);
        compare_free(c);
        return -1;
    }
    fputs("set ytics ()\n", gp);
    for (int i = 0, line = lines; i < c->n_arms; i++) {
        const struct arm *a = &c->arm[i];
        if (compare_is_baseline(c, i) || !a->paired.n) continue;
        write_pairs(gp, c, a, i, line);
        write_words(gp, c, a, line);
        widest = figure_width(a->variant->name) > widest ? figure_width(a->variant->name) : widest;
        fputs("set ytics add (", gp);
        figure_quote(gp, a->variant->name);
        fprintf(gp, " %d)\n", line--);
    }
    canvas->height = 180 + 58 * lines;
    canvas->width = (widest > 90 ? widest : 90) + PLOT + WORDS;
    fprintf(gp, "set tmargin 3.2\nset bmargin 5.5\nset rmargin at screen %.5f\nset yrange [0.4:%d.6]\nset key off\n"
                "set bars 0.6\n", 1 - (double)WORDS / canvas->width, lines);
    figure_title(canvas, "%s: %s against %s", runs->study->name, c->metric,
                 runs->study->variant[runs->study->baseline].name);
    static const char *const family[] = { "all intervals hold at once", "p by Holm, intervals are not simultaneous",
                                          "each variant for itself" };
    figure_caption(canvas, "Small dots: pairs of runs with one seed; large: their mean with the 95 %% interval; %s.",
                   family[c->family]);
    char name[160];
    snprintf(name, sizeof name, "difference in %s", c->metric);
    if (c->better) snprintf(name + strlen(name), sizeof name - strlen(name), ", %s is better", better_name[c->better]);
    figure_axis(canvas, "x", name, c->unit);
    set_range(canvas, c);
    fputs("set arrow 1 from 0, graph 0 to 0, graph 1 nohead linecolor rgb '#606060' back\nplot \\\n", gp);
    for (int i = 0; i < c->n_arms; i++)
        if (!compare_is_baseline(c, i) && c->arm[i].paired.n)
            fprintf(gp, " $pairs%d using 1:2 with points pointtype 7 pointsize 0.7 linecolor rgb '#80%s', $mean%d "
                        "using 1:3:2 with xerrorbars pointtype 13 pointsize 1.6 linewidth 2 linecolor rgb '%s', \\\n",
                    i, figure_color(i, runs->study->baseline) + 1, i, figure_color(i, runs->study->baseline));
    fputs(" 1/0\n", gp);
    compare_free(c);
    return 0;
}

const struct figure figure_pairs = { "pairs", "paired differences to the baseline", draw, false };
