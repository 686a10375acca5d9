/* How one run is, on one page: loss with its spikes, gradients, updates, the stream, logits, loads, and what monitors
   add. Lines of a panel are layers, from the first, dark, to the last, bright. */
#include "figure.h"
#include "metric.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANELS = 15, TALL = 180, BUCKETS = 300 };
static const char spike_color[] = "#D62728";

/* What a page may have, in its order; what a run lacks is left out. Spikes are marked where `marked` says so; most:
   where the axis ends, 0: where values do. */
static const struct panel { const char *metric, *title; bool log, marked; double most; } panels[] = {
    { "train.loss", "loss, nats a token (dots: held out)", false, true, 0 },
    { "train.grad_norm", "norm of all gradients", true, true, 0 },
    { "train.layer_grad_norm", "norm of each layer''s gradients", true, false, 0 },
    { "train.update_ratio", "change over weights", true, false, 0 },
    { "train.layer_resid_rms", "RMS of the residual stream", true, false, 0 },
    { "train.layer_attn_logit_max", "largest attention logit", true, false, 0 },
    { "train.router_logit_max", "largest router logit", false, false, 0 },
    { "train.max_vio", "MaxVio of loads", false, false, 0 },
    { "train.dead_frac", "dead experts", false, false, 1 },
    { "eval.head_attn_entropy", "entropy of attention, nats", false, false, 0 },
    { "eval.layer_stream_similarity", "cosine across the layer", false, false, 1.02 },
    { "eval.layer_stream_rank", "rank of the stream", true, false, 0 },
    { "eval.layer_stream_kurtosis", "kurtosis of the stream", true, false, 0 },
    { "eval.layer_stream_max", "largest value of the stream", true, false, 0 },
    { "eval.spectral_norm.attention.out", "spectral norm of attention.out", true, false, 0 },
};

/* [rows,layers]: what each layer has in the mean of its heads; of the model's alone one layer. known: which layers have
   values; spikes: how many points are marked. */
struct health { const struct panel *panel; struct curve curve; int64_t layers; bool *known; int spikes; };

static int64_t layers_of(const struct metric *m)
{
    return m->series.rank > 0 && !strcmp(m->series.dim_name[0], "layer") ? m->series.dim[0] : 1;
}

/* Folds what lies within a layer. */
static void fold(struct health *h)
{
    struct curve *c = &h->curve;
    int64_t within = c->cells / h->layers;
    for (int64_t i = 0; i < c->rows * h->layers; i++) {
        double sum = 0;
        int64_t n = 0;
        for (int64_t k = 0; k < within; k++) {
            double x = c->value[i * within + k];
            if (isnan(x)) continue;
            sum += x;
            n++;
        }
        c->value[i] = n ? sum / (double)n : NAN;
    }
    c->cells = h->layers;
}

static bool shown(const struct panel *p, double x) { return isfinite(x) && (!p->log || x > 0); }

/* Of many rows a bucket leaves its lowest and its highest, so that what stands out is seen. */
static void write_layer(FILE *gp, const struct health *h, int64_t layer)
{
    const struct curve *c = &h->curve;
    int64_t stride = c->rows / BUCKETS + 1;
    for (int64_t first = 0; first < c->rows; first += stride) {
        int64_t low = -1, high = -1;
        for (int64_t row = first; row < first + stride && row < c->rows; row++) {
            double x = c->value[row * c->cells + layer];
            if (!shown(h->panel, x)) continue;
            if (low < 0 || x < c->value[low * c->cells + layer]) low = row;
            if (high < 0 || x > c->value[high * c->cells + layer]) high = row;
        }
        for (int64_t row = first; low >= 0 && row < first + stride && row < c->rows; row++)
            if (row == low || row == high)
                fprintf(gp, "%lld %.6g\n", (long long)c->step[row], c->value[row * c->cells + layer]);
    }
}

/* Data block $healthN: a block for each layer that has values. */
static void write_panel(FILE *gp, int number, struct health *h)
{
    h->known = xcalloc((size_t)h->layers + 1, sizeof *h->known);
    fprintf(gp, "$health%d << END\n", number);
    for (int64_t layer = 0; layer < h->layers; layer++) {
        for (int64_t row = 0; row < h->curve.rows && !h->known[layer]; row++)
            h->known[layer] = shown(h->panel, h->curve.value[row * h->curve.cells + layer]);
        if (!h->known[layer]) continue;
        write_layer(gp, h, layer);
        fputs("\n\n", gp);
    }
    fputs("END\n", gp);
}

/* Data block $spikesN: the points of a marked panel that are spikes. */
static void write_spikes(FILE *gp, int number, struct health *h, const struct curve *spikes)
{
    fprintf(gp, "$spikes%d << END\n", number);
    for (int64_t row = 0; row < h->curve.rows && row < spikes->rows; row++) {
        if (!(spikes->value[row] > 0) || !shown(h->panel, h->curve.value[row])) continue;
        fprintf(gp, "%lld %.6g\n", (long long)h->curve.step[row], h->curve.value[row]);
        h->spikes++;
    }
    fputs("END\n", gp);
}

static void plot_panel(const struct canvas *canvas, const struct grid *grid, int at, const struct health *h,
                       const char *held_out)
{
    FILE *gp = canvas->gp;
    bool lowest = figure_lowest(grid, at);
    char color[8];
    figure_panel(canvas, grid, at);
    fprintf(gp, "set title '%s' offset 0,-0.7 font ',12'\nset xlabel '%s'\nset format x '%s'\n%s logscale y\n",
            h->panel->title, lowest ? "step" : "", lowest ? "%g" : "", h->panel->log ? "set" : "unset");
    if (h->panel->most > 0) fprintf(gp, "set yrange [*<0:%g]\n", h->panel->most);
    else fputs("set yrange [*:*]\n", gp);
    fputs("set format y '%g'\nset ytics autofreq\n", gp);
    const char *before = "plot";
    for (int64_t layer = 0, block = 0; layer < h->layers; layer++) {
        if (!h->known[layer]) continue;
        figure_shade(h->layers > 1 ? 0.92 * (double)layer / (double)(h->layers - 1) : 0.35, color);
        fprintf(gp, "%s $health%d index %lld using 1:2 with lines linewidth 1.3 linecolor rgb '%s' notitle", before, at,
                (long long)block++, color);
        before = ",";
    }
    if (h->spikes)
        fprintf(gp, ", $spikes%d using 1:2 with points pointtype 7 pointsize 0.6 linecolor rgb '%s' notitle", at,
                spike_color);
    if (!strcmp(h->panel->metric, "train.loss") && held_out)
        fprintf(gp, ", %s using 1:2 with points pointtype 7 pointsize 0.5 linecolor rgb '#D55E00' notitle", held_out);
    fputc('\n', gp);
}

/* Data block $eval: held-out losses. NULL: there are none. */
static const char *write_held_out(FILE *gp, struct run *r)
{
    struct curve c;
    struct metric m;
    struct err e;
    if (metric_cells(r, "eval.loss", &c, &m, &e)) return NULL;
    int n = 0;
    fputs("$eval << END\n", gp);
    for (int64_t row = 0; row < c.rows; row++) {
        if (!isfinite(c.value[row])) continue;
        fprintf(gp, "%lld %.6g\n", (long long)c.step[row], c.value[row]);
        n++;
    }
    fputs("END\n", gp);
    curve_free(&c);
    return n ? "$eval" : NULL;
}

/* Of a run that ended without a finish, where that was. */
static void mark_end(FILE *gp, const struct run *r)
{
    if (r->condition != STATUS_DIVERGED && r->condition != STATUS_FAILED) return;
    fprintf(gp, "set arrow 190 from first %lld, graph 0 to first %lld, graph 1 nohead dashtype 2 linewidth 1.5 "
                "linecolor rgb '%s'\n", (long long)r->step, (long long)r->step, spike_color);
}

static bool has_values(const struct health *h)
{
    for (int64_t i = 0; i < h->curve.rows * h->curve.cells; i++) if (shown(h->panel, h->curve.value[i])) return true;
    return false;
}

static int read_all(struct run *r, struct health *h, struct curve *spikes, struct err *e)
{
    struct metric m;
    int n = 0;
    for (int i = 0; i < COUNT(panels); i++) {
        if (!metric_has(r, panels[i].metric)) continue;
        h[n].panel = &panels[i];
        if (metric_cells(r, panels[i].metric, &h[n].curve, &m, e)) return -1;
        h[n].layers = layers_of(&m);
        fold(&h[n]);
        if (has_values(&h[n])) n++;
        else curve_free(&h[n].curve);
    }
    if (n == 0) return err_set(e, "%s: has no steps yet", r->name);
    if (!metric_has(r, "train.spike_robust")) return n;
    return metric_cells(r, "train.spike_robust", spikes, &m, e) ? -1 : n;
}

static void write_words(const struct canvas *canvas, const struct runs *all, const struct run *r, int spikes)
{
    figure_title(canvas, "%s: health of %s, %s at step %lld", all->study ? all->study->name : "run", r->name,
                 condition_name(r->condition), (long long)r->step);
    figure_caption(canvas, "Lines are layers, from the first, dark, to the last, bright. Red: %d spike%s, six "
                           "deviations above the 128 steps before%s.\nWhere lines would have too many points, lowest "
                           "and highest of some steps.", spikes, spikes == 1 ? "" : "s",
                   r->condition == STATUS_DIVERGED ? "; dashed: where it diverged" : "");
}

static void draw_page(struct canvas *canvas, const struct runs *all, struct run *r, struct health *h, int n,
                      const struct curve *spikes)
{
    FILE *gp = canvas->gp;
    int64_t steps = r->step ? r->step : 1;
    int marks = 0;
    struct grid grid = { .n = n, .panel = TALL, .below = 30, .right = 1.02, .apart = 0.065 };
    for (int i = 0; i < n; i++) {
        write_panel(gp, i, &h[i]);
        if (h[i].panel->marked) write_spikes(gp, i, &h[i], spikes);
        if (h[i].spikes > marks) marks = h[i].spikes;
    }
    const char *held_out = write_held_out(gp, r);
    figure_grid(canvas, &grid);
    write_words(canvas, all, r, marks);
    fputs("set multiplot\nset key off\n", gp);
    figure_tics(canvas, "x", 0, (double)steps);
    fprintf(gp, "set xrange [0:%lld]\n", (long long)steps);
    mark_end(gp, r);
    for (int i = 0; i < n; i++) plot_panel(canvas, &grid, i, &h[i], held_out);
    fputs("unset multiplot\n", gp);
}

static int draw(struct canvas *canvas, const struct runs *all, const struct plot_options *o, struct err *e)
{
    struct run *r = runs_choose(all, o->variant, o->replicate, e);
    if (!r) return -1;
    if (!run_look(r))
        return err_set(e, "%s: %s", r->name, r->problem ? r->problem : condition_name(r->condition));
    struct health *h = xcalloc(PANELS, sizeof *h);
    struct curve spikes = { 0 };
    int n = read_all(r, h, &spikes, e);
    if (n > 0) draw_page(canvas, all, r, h, n, &spikes);
    for (int i = 0; i < PANELS; i++) {
        curve_free(&h[i].curve);
        free(h[i].known);
    }
    curve_free(&spikes);
    free(h);
    return n > 0 ? 0 : -1;
}

const struct figure figure_health = { "health", "loss, spikes, norms, logits and loads of one run on a page", draw,
                                      false };
