/* Collapse of routing in one run, a row of panels a layer: shares of the experts as bands, one on the other, and how
   uneven they are. Beside the bands stands what an even load would look like. */
#include "figure_experts.h"
#include <math.h>
#include <stdlib.h>

enum { PANELS = 4, BANDS = 64 };                            /* at most: layers, and bands of a layer */
enum { TOP = 60, BOTTOM = 88, TALL = 150, GAP = 34, WIDTH = 960 };      /* pixels */
static const double bands_left = 0.075, bands_right = 0.53, even_left = 0.54, even_right = 0.56, vio_left = 0.69,
                    vio_right = 0.975;                      /* of the width */

/* Neighbours share a band where there are many. */
static int64_t band_size(const struct experts *x) { return (x->experts + BANDS - 1) / BANDS; }
static int64_t bands_of(const struct experts *x) { return (x->experts + band_size(x) - 1) / band_size(x); }

static void band_color(const struct experts *x, int64_t band, char out[8])
{
    int64_t n = bands_of(x);
    figure_shade(n > 1 ? (double)band / (double)(n - 1) : 0.5, out);
}

/* A lone column is drawn as two halves, so that it has a width. */
static int halves_of(const struct experts *x) { return experts_columns(x) == 1 ? 2 : 1; }
static double at_half(const struct column *c, int half, int halves) { return c->step + (halves == 2 ? half - 0.5 : 0); }

/* Data block $shareL: step, then the share of all experts before band 1, 2, ...: the upper edges of the bands. */
static void write_shares(FILE *gp, const struct experts *x, int64_t layer)
{
    struct column c = { .tokens = xcalloc((size_t)x->experts, sizeof *c.tokens) };
    fprintf(gp, "$share%lld << END\n", (long long)layer);
    int halves = halves_of(x);
    for (int64_t i = 0; i < halves * experts_columns(x); i++) {
        experts_column(x, layer, i / halves, &c);
        if (!(c.total > 0)) continue;
        double sum = 0;
        fprintf(gp, "%.9g", at_half(&c, (int)(i % halves), halves));
        for (int64_t k = 0; k < x->experts; k++) {
            sum += isnan(c.tokens[k]) ? 0 : c.tokens[k];
            if ((k + 1) % band_size(x) == 0 || k == x->experts - 1) fprintf(gp, " %.5g", sum / c.total);
        }
        fputc('\n', gp);
    }
    fputs("END\n", gp);
    free(c.tokens);
}

/* Data block $vioL or $floorL: step, mean of the rows of a metric with a value a layer. */
static void write_mean(FILE *gp, const char *name, const struct experts *x, const struct curve *vio, int64_t layer,
                       double *most)
{
    struct column c = { .tokens = xcalloc((size_t)x->experts, sizeof *c.tokens) };
    fprintf(gp, "$%s%lld << END\n", name, (long long)layer);
    int halves = halves_of(x);
    for (int64_t i = 0; i < halves * experts_columns(x); i++) {
        double sum = 0;
        experts_column(x, layer, i / halves, &c);
        for (int64_t row = c.first; row < c.end; row++) sum += vio->value[row * x->layers + layer];
        double mean = sum / (double)(c.end - c.first);
        if (isnan(mean)) continue;
        fprintf(gp, "%.9g %.5g\n", at_half(&c, (int)(i % halves), halves), mean);
        *most = fmax(*most, mean);
    }
    fputs("END\n", gp);
    free(c.tokens);
}

/* Up to PANELS layers with experts, the first and the last among them. */
static int choose_layers(const struct experts *x, int64_t layer[PANELS])
{
    int n = x->shown < PANELS ? x->shown : PANELS, at = 0, taken = 0;
    for (int64_t i = 0; i < x->layers; i++) {
        if (!experts_has(x, i)) continue;
        if (at == (n > 1 ? taken * (x->shown - 1) / (n - 1) : 0)) layer[taken++] = i;
        at++;
    }
    return taken;
}

static void place(FILE *gp, double left, double right, double top, double bottom)
{
    fprintf(gp, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset tmargin at screen %.4f\n"
                "set bmargin at screen %.4f\n", left, right, top, bottom);
}

static void plot_bands(const struct canvas *canvas, const struct experts *x, int64_t layer)
{
    FILE *gp = canvas->gp;
    char color[8];
    fputs("plot \\\n", gp);
    for (int64_t i = bands_of(x) - 1; i >= 0; i--) {        /* from the top down: each covers what is below its edge */
        band_color(x, i, color);
        fprintf(gp, " $share%lld using 1:%lld with filledcurves y1=0 fillcolor rgb '%s' notitle, \\\n",
                (long long)layer, (long long)i + 2, color);
    }
    for (int64_t i = 0; i + 1 < bands_of(x); i++)
        fprintf(gp, " $share%lld using 1:%lld with lines linewidth 0.5 linecolor rgb 'white' notitle, \\\n",
                (long long)layer, (long long)i + 2);
    fputs(" 1/0 notitle\n", gp);
}

/* The bands of an even load, with the numbers of the experts. */
static void draw_even(FILE *gp, const struct experts *x, int64_t layer, double top, double bottom)
{
    int64_t own = 0;
    char color[8];
    for (int64_t i = 0; i < x->experts; i++) own += !isnan(x->curve.value[layer * x->experts + i]);
    int64_t n = (own + band_size(x) - 1) / band_size(x), every = (n + 7) / 8;
    for (int64_t i = 0; i < n; i++) {
        double low = bottom + (top - bottom) * (double)i / (double)n,
               high = bottom + (top - bottom) * (double)(i + 1) / (double)n;
        band_color(x, i, color);
        fprintf(gp, "set object %lld rectangle from screen %.4f, screen %.5f to screen %.4f, screen %.5f fillcolor rgb "
                    "'%s' fillstyle solid border linecolor rgb 'white' linewidth 0.5\n", (long long)i + 1,
                even_left, low, even_right, high, color);
        if (i % every == 0)
            fprintf(gp, "set label %lld '%lld' at screen %.4f, screen %.5f left font ',10' textcolor '#404040'\n",
                    300 + (long long)i, (long long)(i * band_size(x)), even_right + 0.006, (low + high) / 2);
    }
}

static void row_of_panels(const struct canvas *canvas, const struct experts *x, int64_t layer, int row, bool last)
{
    FILE *gp = canvas->gp;
    double tall = canvas->height, top = 1 - (TOP + row * (TALL + GAP)) / tall, bottom = top - TALL / tall;
    fprintf(gp, "set format x '%s'\nset xlabel '%s'\n", last ? "%g" : "", last ? "step" : "");
    fprintf(gp, "set yrange [0:1]\nset ytics 0.25\nset format y '%%g'\nset ylabel 'share of tokens' offset 0.8,0\n"
                "set label 299 'even' at screen %.4f, screen %.5f center font ',10' textcolor '#404040'\n",
            (even_left + even_right) / 2, top + 9 / tall);
    fprintf(gp, "set label 298 'expert' at screen %.4f, screen %.5f left rotate by 90 font ',10' textcolor '#404040'"
                "\n", even_right + 0.03, (top + bottom) / 2 - 20 / tall);
    draw_even(gp, x, layer, top, bottom);
    place(gp, bands_left, bands_right, top, bottom);
    fprintf(gp, "set title 'layer %lld' offset 0,-0.7\n", (long long)layer);
    plot_bands(canvas, x, layer);
    fputs("unset object\nunset label\n", gp);
}

static void vio_panel(const struct canvas *canvas, int64_t layer, int row, double most)
{
    FILE *gp = canvas->gp;
    double tall = canvas->height, top = 1 - (TOP + row * (TALL + GAP)) / tall;
    place(gp, vio_left, vio_right, top, top - TALL / tall);
    fputs("set ylabel 'MaxVio' offset 0.8,0\nset format y '%g'\nunset title\nset grid\n", gp);
    fprintf(gp, "set yrange [0:%.6g]\n", fmax(1.1 * most, 0.1));
    figure_tics(canvas, "y", 0, fmax(most, 0.1));
    fprintf(gp, "plot $floor%lld using 1:2 with lines linewidth 1.5 dashtype 2 linecolor rgb '#404040' notitle, "
                "$vio%lld using 1:2 with lines linewidth 2 linecolor rgb '%s' notitle\n",
            (long long)layer, (long long)layer, figure_color(1, 0));
}

static int read_layers(const struct experts *x, const char *name, struct curve *out, struct err *e)
{
    struct metric m;
    char full[64];
    snprintf(full, sizeof full, "train.%s%s", x->router, name);
    return metric_cells(x->run, full, out, &m, e);
}

static void write_words(const struct canvas *canvas, const struct runs *all, const struct experts *x)
{
    char bands[64] = "", layers[64] = "";
    if (band_size(x) > 1) snprintf(bands, sizeof bands, " A band is %lld experts.", (long long)band_size(x));
    if (x->shown > PANELS) snprintf(layers, sizeof layers, " %d of %d layers.", PANELS, x->shown);
    figure_title(canvas, "%s: shares of %s in %s", all->study ? all->study->name : "run",
                 *x->router ? "attention's experts" : "the experts", x->run->name);
    figure_caption(canvas, "Left: share of each expert in its layer's assignments, %s; beside it, an even load.%s%s\n"
                           "Right: MaxVio of a step, (largest - mean load) / mean load, mean over a column; 0 is even. "
                           "Dashed: of random routing.", x->pace, bands, layers);
}

static int draw(struct canvas *canvas, const struct runs *all, const struct plot_options *o, struct err *e)
{
    struct experts x;
    struct curve vio = { 0 }, floor = { 0 };
    int64_t layer[PANELS];
    double most = 0;
    if (experts_read(&x, all, o, e)) return -1;
    if (read_layers(&x, "max_vio", &vio, e) || read_layers(&x, "max_vio_floor", &floor, e)) {
        curve_free(&vio);
        experts_free(&x);
        return -1;
    }
    int n = choose_layers(&x, layer);
    double first = (double)x.curve.step[0], last = (double)x.curve.step[x.curve.rows - 1];
    canvas->width = WIDTH;
    canvas->height = TOP + BOTTOM + n * (TALL + GAP) - GAP;
    for (int i = 0; i < n; i++) {
        write_shares(canvas->gp, &x, layer[i]);
        write_mean(canvas->gp, "vio", &x, &vio, layer[i], &most);
        write_mean(canvas->gp, "floor", &x, &floor, layer[i], &most);
    }
    write_words(canvas, all, &x);
    fprintf(canvas->gp, "set key off\nset xrange [%.9g:%.9g]\n", first - (first == last) * 0.5,
            last + (first == last) * 0.5);
    figure_tics(canvas, "x", first, last + (first == last));
    fputs("set multiplot\n", canvas->gp);
    for (int i = 0; i < n; i++) {
        row_of_panels(canvas, &x, layer[i], i, i == n - 1);
        vio_panel(canvas, layer[i], i, most);
    }
    fputs("unset multiplot\n", canvas->gp);
    curve_free(&vio);
    curve_free(&floor);
    experts_free(&x);
    return 0;
}

const struct figure figure_collapse = { "collapse", "shares of one run's experts as bands, beside MaxVio", draw,
                                        false };
