/* Margins of one run's routers, a panel a layer: how many tokens would choose otherwise if keys moved by so much. */
#include "figure_views.h"
#include <math.h>
#include <stdlib.h>

enum { PANELS = 9, TALL = 190 };
static const double below = -21;                            /* where the bin below 2^-20 is drawn, log2 */

/* Data block $marginN: log2 of the middle of a bin, share of tokens. Returns the largest share. */
static double write_bins(FILE *gp, int number, const struct margins *m)
{
    double all = 0, most = 0;
    for (int i = 0; i <= MARGIN_BINS; i++) all += (double)m->bin[i];
    fprintf(gp, "$margin%d << END\n", number);
    for (int i = 0; i <= MARGIN_BINS; i++) {
        double at = i ? (log2(choices_bin(i)) + log2(choices_bin(i + 1))) / 2 : below;
        fprintf(gp, "%.6g %.5g\n", at, (double)m->bin[i] / all);
        most = fmax(most, (double)m->bin[i] / all);
    }
    fputs("END\n", gp);
    return most;
}

static void panel(const struct canvas *canvas, const struct grid *grid, int at, const struct view *v,
                  const char *label)
{
    FILE *gp = canvas->gp;
    bool lowest = figure_lowest(grid, at);
    figure_panel(canvas, grid, at);
    fprintf(gp, "set title 'layer %s' offset 0,-0.7\nset xlabel '%s'\nset ylabel '%s' offset 0.8,0\n", label,
            lowest ? "margin" : "", at % grid->columns ? "" : "share of tokens");
    if (v->reach > 0)
        fprintf(gp, "set arrow 1 from first %.6g, graph 0 to first %.6g, graph 1 nohead dashtype 2 linewidth 1.5 "
                    "linecolor '#404040' front\n", log2(v->reach), log2(v->reach));
    fprintf(gp, "plot $margin%d using 1:2 with boxes fillstyle solid noborder fillcolor rgb '%s' notitle\n"
                "unset label\nunset arrow\n", at, figure_color(1, 0));
}

static int panels(struct canvas *canvas, const struct run *r, const struct views *v, struct err *e)
{
    FILE *gp = canvas->gp;
    int *known = xcalloc((size_t)v->last.n + 1, sizeof *known), n = 0, chosen[PANELS];
    double most = 0;
    bool reached = false;
    char label[32];
    for (int i = 0; i < v->last.n; i++) if (v->view[i].margins.known) known[n++] = i;
    if (!n) {
        free(known);
        return err_set(e, "%s: no router chooses by the largest keys of a token, and leaves some: none has margins",
                       r->name);
    }
    int shown = figure_some(n, PANELS, chosen);
    struct grid grid = { .n = shown, .panel = shown == 1 ? 280 : TALL, .below = 34, .right = 1 };
    figure_grid(canvas, &grid);
    for (int i = 0; i < shown; i++) {
        const struct view *one = &v->view[known[chosen[i]]];
        most = fmax(most, write_bins(gp, i, &one->margins));
        reached |= one->reach > 0;
    }
    figure_caption(canvas, "Smallest key that was chosen less the largest that was not, of %lld held-out tokens; at 0: "
                           "less than 2^-20.%s%s",
                   (long long)v->last.tokens, reached ? "\nDashed: the last change of the balancing bias." : "",
                   shown < n ? " Not all layers." : "");
    fprintf(gp, "set multiplot\nset key off\nset boxwidth 0.6 absolute\nset xrange [-21.7:2.3]\nset yrange [0:%.4g]\n"
                "set xtics ('0' -21, '2^-16' -16, '2^-8' -8, '1' 0)\n", 1.1 * most);
    figure_tics(canvas, "y", 0, most);
    for (int i = 0; i < shown; i++)
        panel(canvas, &grid, i, &v->view[known[chosen[i]]], views_label(v, known[chosen[i]], label));
    fputs("unset multiplot\n", gp);
    free(known);
    return 0;
}

static int draw(struct canvas *canvas, const struct runs *all, const struct plot_options *o, struct err *e)
{
    return figure_views(canvas, all, o, "margins of the routers of", panels, e);
}

const struct figure figure_margin = { "margin", "by how much the experts of a token are chosen", draw, true };
