/* Which experts of a layer go together in one run, a panel a layer: of the tokens of each expert (row) the share that
   goes to each other (column), over what chance would give. */
#include "figure_views.h"
#include <math.h>
#include <stdlib.h>

enum { PANELS = 9 };

/* Data blocks $pairN: other expert, expert, share over chance; $noneN: where there is none, on the diagonal and of
   experts that nobody chose. An image needs a value everywhere. */
static void write_pairs(FILE *gp, int number, const struct view *v)
{
    int64_t experts = v->route->experts, pairs = experts * experts;
    fprintf(gp, "$pair%d << END\n", number);
    for (int64_t i = 0; i < pairs; i++)
        fprintf(gp, "%lld %lld %.4g\n", (long long)(i % experts), (long long)(i / experts),
                isnan(v->together[i]) ? 0 : v->together[i] / v->together_chance);
    fprintf(gp, "END\n$none%d << END\n", number);
    for (int64_t i = 0; i < pairs; i++)
        if (i % experts == i / experts || isnan(v->together[i]))
            fprintf(gp, "%lld %lld\n", (long long)(i % experts), (long long)(i / experts));
    fputs("END\n", gp);
}

static void panel(const struct canvas *canvas, const struct grid *grid, int at, const struct view *v,
                  const char *label)
{
    FILE *gp = canvas->gp;
    double tall = canvas->height;
    bool lowest = figure_lowest(grid, at);
    int experts = v->route->experts, every = experts > 8 ? (experts + 3) / 4 : 1;
    figure_panel(canvas, grid, at);
    fprintf(gp, "set title 'layer %s' offset 0,-0.7\nset xrange [-0.5:%d.5]\nset yrange [-0.5:%d.5]\nset xtics %d\n"
                "set ytics %d\nset xlabel '%s'\nset ylabel '%s' offset 0.8,0\n",
            label, experts - 1, experts - 1, every, every, lowest ? "goes also to" : "",
            at % grid->columns ? "" : "of expert");
    if (at == grid->n - 1)
        fprintf(gp, "set colorbox user origin screen 0.895, screen %.4f size screen 0.018, screen %.4f\n",
                GRID_BOTTOM / tall, 1 - (GRID_BOTTOM + GRID_TOP + 22) / tall);
    else fputs("unset colorbox\n", gp);
    fprintf(gp, "plot $pair%d using 1:2:3 with image, $none%d using 1:2:(0.5):(0.5) with boxxyerror fillstyle solid "
                "noborder fillcolor rgb '#808080'\nunset label\n", at, at);
}

static int panels(struct canvas *canvas, const struct run *r, const struct views *v, struct err *e)
{
    FILE *gp = canvas->gp;
    int *paired = xcalloc((size_t)v->last.n + 1, sizeof *paired), n = 0, chosen[PANELS];
    char label[32];
    for (int i = 0; i < v->last.n; i++) if (v->view[i].together_chance > 0) paired[n++] = i;
    if (!n) {
        free(paired);
        return err_set(e, "%s: a token goes to one expert of each layer: none goes with another", r->name);
    }
    int shown = figure_some(n, PANELS, chosen);
    struct grid grid = { .n = shown, .panel = shown == 1 ? 480 : shown <= 4 ? 350 : 270, .below = 36, .right = 0.88 };
    figure_grid(canvas, &grid);
    for (int i = 0; i < shown; i++) write_pairs(gp, i, &v->view[paired[chosen[i]]]);
    figure_caption(canvas,
                   "Of the tokens of an expert the share that goes to another too, over that of random routing; %lld "
                   "held-out tokens.\nGrey: itself, or an expert that no token goes to.%s",
                   (long long)v->last.tokens, shown < n ? " Not all layers." : "");
    fputs("set multiplot\nset key off\nset border 15\nunset grid\nset palette defined (0 '#2166AC', 0.5 '#92C5DE', 1 "
          "'#F7F7F7', 2 '#F4A582', 4 '#B2182B')\nset cbrange [0:4]\n"
          "set cbtics ('0' 0, '1' 1, '2' 2, '3' 3, '≥ 4' 4)\n"
          "set cblabel 'together / by chance' offset 0.5,0\n", gp);
    for (int i = 0; i < shown; i++)
        panel(canvas, &grid, i, &v->view[paired[chosen[i]]], views_label(v, paired[chosen[i]], label));
    fputs("unset multiplot\n", gp);
    free(paired);
    return 0;
}

static int draw(struct canvas *canvas, const struct runs *all, const struct plot_options *o, struct err *e)
{
    return figure_views(canvas, all, o, "experts that go together in", panels, e);
}

const struct figure figure_coactivation = { "coactivation", "which experts go together", draw, true };
