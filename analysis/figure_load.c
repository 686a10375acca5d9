/* Expert load of one run: a panel a layer, experts over steps, colour the share of an even load. A dead expert is a
   blue line, a collapsed router one red line among blue. */
#include "figure.h"
#include "figure_experts.h"
#include <math.h>
#include <stdlib.h>

/* One column of the image. It needs two points each way: a lone expert, and a lone column, are drawn as two halves. */
static void write_column(FILE *gp, double x, const double *sum, int64_t experts, double total, int64_t own)
{
    for (int64_t i = 0; i < experts; i++)
        for (int half = 0; half < (own == 1 ? 2 : 1) && !isnan(sum[i]); half++)
            fprintf(gp, "%.9g %.9g %.4g\n", x, (double)i + (own == 1 ? half - 0.5 : 0) / 2,
                    total > 0 ? sum[i] * (double)own / total : NAN);
    fputc('\n', gp);
}

/* Data block $layerL: step, expert, load / mean load. */
static void write_layer(FILE *gp, const struct experts *x, int64_t layer)
{
    int64_t columns = experts_columns(x);
    struct column c = { .tokens = xcalloc((size_t)x->experts, sizeof *c.tokens) };
    fprintf(gp, "$layer%lld << END\n", (long long)layer);
    for (int64_t i = 0; i < columns; i++) {
        experts_column(x, layer, i, &c);
        for (int half = 0; half < (columns == 1 ? 2 : 1); half++)
            write_column(gp, c.step + (columns == 1 ? half - 0.5 : 0) / 2, c.tokens, x->experts, c.total, c.own);
    }
    fputs("END\n", gp);
    free(c.tokens);
}

static void panels(struct canvas *canvas, const struct experts *x)
{
    FILE *gp = canvas->gp;
    const struct curve *c = &x->curve;
    int n = x->shown, columns = n == 1 ? 1 : n <= 4 ? 2 : 3, rows = (n + columns - 1) / columns, at = 0;
    double left = 0.075, right = 0.88, bottom = 84, top = 52, height = rows == 1 ? 260 : 170;
    canvas->width = columns == 1 ? 760 : 960;
    canvas->height = (int)(top + bottom + height * rows);
    double tall = canvas->height;
    double first = (double)c->step[0], last = (double)c->step[c->rows - 1], margin = first < last ? 0 : 0.5;
    if (margin > 0) fputs("set xtics 1\n", gp);
    figure_tics(canvas, "x", first, last);
    fputs("set multiplot\nset key off\nset border 15\nunset grid\nset palette defined (0 '#2166AC', 0.5 '#92C5DE', 1 "
          "'#F7F7F7', 1.5 '#F4A582', 2 '#B2182B')\nset cbrange [0:2]\nset cbtics ('0' 0, '0.5' 0.5, '1' 1, '1.5' 1.5, "
          "'≥ 2' 2)\nset cblabel 'load / even load' offset 0.5,0\n", gp);
    for (int64_t layer = 0; layer < x->layers; layer++) {
        if (!experts_has(x, layer)) continue;
        int column = at % columns, row = at / columns;
        double w = (right - left) / columns, high = 1 - top / tall - row * height / tall;
        bool lowest = at + columns >= n;
        fprintf(gp, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset tmargin at screen %.4f\n"
                    "set bmargin at screen %.4f\n",
                left + w * column, left + w * (column + 1) - 0.035, high - 22 / tall, high - (height - 12) / tall);
        fprintf(gp,
                "set title 'layer %lld' offset 0,-0.7\nset xrange [%.9g:%.9g]\nset yrange [-0.5:%lld.5]\n"
                "set ytics %d\n",
                (long long)layer, first - margin, last + margin, (long long)x->experts - 1,
                x->experts > 8 ? (int)((x->experts + 3) / 4) : 1);
        fprintf(gp, "set format x '%s'\nset xlabel '%s'\nset ylabel '%s' offset 0.8,0\n", lowest ? "%g" : "",
                lowest ? "step" : "", column ? "" : "expert");
        if (at == n - 1)
            fprintf(gp, "set colorbox user origin screen 0.895, screen %.4f size screen 0.018, screen %.4f\n",
                    bottom / tall, 1 - (bottom + top + 22) / tall);
        else fputs("unset colorbox\n", gp);
        fprintf(gp, "plot $layer%lld using 1:2:3 with image\nunset label 101\nunset label 102\n", (long long)layer);
        at++;
    }
    fputs("unset multiplot\n", gp);
}

static int draw(struct canvas *canvas, const struct runs *all, const struct plot_options *o, struct err *e)
{
    struct experts x;
    if (experts_read(&x, all, o, e)) return -1;
    for (int64_t layer = 0; layer < x.layers; layer++) if (experts_has(&x, layer)) write_layer(canvas->gp, &x, layer);
    figure_title(canvas, "%s: %s of %s", all->study ? all->study->name : "run",
                 *x.router ? "load of attention's experts" : "expert load", x.run->name);
    figure_caption(canvas, "Tokens of each expert over the mean of its layer, %s.", x.pace);
    panels(canvas, &x);
    experts_free(&x);
    return 0;
}

const struct figure figure_load = { "load", "expert load of one run by layer and step", draw, false };
