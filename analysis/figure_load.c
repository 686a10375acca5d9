/* Expert load of one run: a panel a layer, experts over steps, colour the share of an even load. A dead expert is a
   blue line, a collapsed router one red line among blue. */
#include "figure.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 240 };                                        /* columns of a panel; steps in between are summed */

static struct run *choose(const struct runs *all, const struct plot_options *o, struct err *e)
{
    if (!all->study || all->n == 1) return &all->run[0];
    for (int i = 0; i < all->n; i++) {
        struct run *r = &all->run[i];
        bool named = o->variant ? !strcmp(all->study->variant[r->variant].name, o->variant)
                                : r->variant == all->study->baseline;
        if (named && r->replicate == o->replicate) return r;
    }
    err_set(e, "no run of variant '%s' with replicate %d",
            o->variant ? o->variant : all->study->variant[all->study->baseline].name, o->replicate);
    return NULL;
}

static bool has_experts(const struct curve *c, const struct reader_series *s, int64_t layer)
{
    for (int64_t i = 0; i < s->dim[1] && c->rows; i++)
        if (!isnan(c->value[layer * s->dim[1] + i])) return true;
    return false;
}

/* One column of the image. It needs two points each way: a lone expert, and a lone column, are drawn as two halves. */
static void write_column(FILE *gp, double x, const double *sum, int64_t experts, double total, int64_t own)
{
    for (int64_t i = 0; i < experts; i++)
        for (int half = 0; half < (own == 1 ? 2 : 1) && !isnan(sum[i]); half++)
            fprintf(gp, "%.9g %.9g %.4g\n", x, (double)i + (own == 1 ? half - 0.5 : 0) / 2,
                    total > 0 ? sum[i] * (double)own / total : NAN);
    fputc('\n', gp);
}

/* Data block $layerL: step, expert, load / mean load, in bins of equal numbers of rows. */
static void write_layer(FILE *gp, const struct curve *c, const struct reader_series *s, int64_t layer)
{
    int64_t experts = s->dim[1], bins = c->rows < BINS ? c->rows : BINS;
    double *sum = xcalloc((size_t)experts, sizeof *sum);
    fprintf(gp, "$layer%lld << END\n", (long long)layer);
    for (int64_t bin = 0; bin < bins; bin++) {
        int64_t first = bin * c->rows / bins, end = (bin + 1) * c->rows / bins, own = 0;
        double total = 0, width = (double)(c->step[c->rows - 1] - c->step[0]) / (double)(bins > 1 ? bins - 1 : 1);
        for (int64_t i = 0; i < experts; i++) {
            sum[i] = 0;
            for (int64_t row = first; row < end; row++) sum[i] += c->value[(row * s->dim[0] + layer) * experts + i];
            if (isnan(sum[i])) continue;
            own++;
            total += sum[i];
        }
        double x = (double)c->step[0] + width * (double)bin;
        for (int half = 0; half < (bins == 1 ? 2 : 1); half++)
            write_column(gp, x + (bins == 1 ? half - 0.5 : 0) / 2, sum, experts, total, own);
    }
    fputs("END\n", gp);
    free(sum);
}

static void panels(struct canvas *canvas, const struct curve *c, const struct reader_series *s, int n)
{
    FILE *gp = canvas->gp;
    int columns = n == 1 ? 1 : n <= 4 ? 2 : 3, rows = (n + columns - 1) / columns, at = 0;
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
    for (int64_t layer = 0; layer < s->dim[0]; layer++) {
        if (!has_experts(c, s, layer)) continue;
        int column = at % columns, row = at / columns;
        double w = (right - left) / columns, high = 1 - top / tall - row * height / tall;
        bool lowest = at + columns >= n;
        fprintf(gp, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset tmargin at screen %.4f\n"
                    "set bmargin at screen %.4f\n",
                left + w * column, left + w * (column + 1) - 0.035, high - 22 / tall, high - (height - 12) / tall);
        fprintf(gp,
                "set title 'layer %lld' offset 0,-0.7\nset xrange [%.9g:%.9g]\nset yrange [-0.5:%lld.5]\n"
                "set ytics %d\n",
                (long long)layer, first - margin, last + margin, (long long)s->dim[1] - 1,
                s->dim[1] > 8 ? (int)((s->dim[1] + 3) / 4) : 1);
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
    struct run *r = choose(all, o, e);
    if (!r) return -1;
    struct reader *reader = run_reader(r);
    const struct reader_series *tokens = reader ? reader_find(reader, STORE_TRAIN, "expert_tokens") : NULL;
    struct curve c;
    int n = 0;
    if (!tokens) return err_set(e, "%s (%s) has no expert counts", r->name, condition_name(r->condition));
    struct reader_series s = *tokens;
    if (s.rank == 1) s.dim[1] = 1;                          /* a single expert is no dimension */
    if (metric_read(r, &(struct metric){ .series = s }, &c, e)) return -1;
    for (int64_t layer = 0; layer < s.dim[0]; layer++) n += has_experts(&c, &s, layer);
    if (!n) {
        curve_free(&c);
        return err_set(e, "%s (%s): no layer has counted a token yet", r->name, condition_name(r->condition));
    }
    for (int64_t layer = 0; layer < s.dim[0]; layer++)
        if (has_experts(&c, &s, layer)) write_layer(canvas->gp, &c, &s, layer);
    figure_title(canvas, "%s: expert load of %s", all->study ? all->study->name : "run", r->name);
    if (c.rows <= BINS) figure_caption(canvas, "Tokens of each expert over the mean of its layer, in each step.");
    else
        figure_caption(canvas, "Tokens of each expert over the mean of its layer, in columns of %lld or %lld steps.",
                       (long long)(c.rows / BINS), (long long)((c.rows + BINS - 1) / BINS));
    panels(canvas, &c, &s, n);
    curve_free(&c);
    return 0;
}

const struct figure figure_load = { "load", "expert load of one run by layer and step", draw };
