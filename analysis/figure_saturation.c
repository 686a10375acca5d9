/* How early routers settle: of each checkpoint of one run the share of choices that are those of the newest, a line a
   layer, dark ones first. */
#include "figure.h"
#include "views.h"
#include <stdlib.h>

enum { LINES = 16 };

static void write_lines(FILE *gp, const struct views *v)
{
    fputs("$saturation << END\n", gp);
    for (int i = 0; i < v->n_moments; i++) {
        const struct moment *m = &v->moment[i];
        fprintf(gp, "%lld", (long long)m->step);
        for (int k = 0; k < v->last.n; k++) fprintf(gp, " %.6g", m->shared[k]);
        for (int k = 0; k < v->last.n; k++) fprintf(gp, " %.6g", m->chance[k]);
        fputc('\n', gp);
    }
    fputs("END\n", gp);
}

static int lines(struct canvas *canvas, const struct run *r, const struct views *v, struct err *e)
{
    FILE *gp = canvas->gp;
    int chosen[LINES], n = figure_some(v->last.n, LINES, chosen), right = 700;
    char color[LINES][8], label[32];
    struct entry entry[LINES + 1];
    if (v->n_moments < 2) return err_set(e, "%s: one checkpoint says nothing of how choices settle", r->name);
    write_lines(gp, v);
    for (int i = 0; i < n; i++) {
        figure_shade(n > 1 ? 0.9 * i / (n - 1) : 0.3, color[i]);
        snprintf(entry[i].text, sizeof entry[i].text, "layer %s", views_label(v, chosen[i], label));
        entry[i].color = color[i];
        entry[i].dash = "1";
    }
    entry[n] = (struct entry){ "by chance", "#404040", "2" };
    canvas->width = right;
    figure_legend(canvas, right, entry, n + 1);
    figure_caption(canvas, "Share of the experts that %lld held-out tokens go to at step %lld to which they went "
                           "before; step 0: before training.", (long long)v->last.tokens, (long long)v->last.step);
    fprintf(gp, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset tmargin at screen %.4f\n"
                "set bmargin at screen %.4f\nset xlabel 'step'\nset ylabel 'choices as at the end'\n"
                "set yrange [0:1.03]\nset ytics 0.2\n",
            80.0 / canvas->width, (right - 10.0) / canvas->width, 1 - 52.0 / canvas->height, 92.0 / canvas->height);
    double first = (double)v->moment[0].step, last = (double)v->moment[v->n_moments - 1].step;
    fprintf(gp, "set xrange [%.9g:%.9g]\n", first - 0.02 * (last - first), last + 0.02 * (last - first));
    figure_tics(canvas, "x", first, last);
    fputs("plot \\\n", gp);
    for (int i = 0; i < n; i++)
        fprintf(gp, " $saturation using 1:%d with lines linewidth 1 dashtype 2 linecolor rgb '#404040' notitle, \\\n",
                2 + v->last.n + chosen[i]);
    for (int i = 0; i < n; i++)
        fprintf(gp, " $saturation using 1:%d with linespoints linewidth 2 pointtype 7 pointsize 0.5 linecolor rgb '%s' "
                    "notitle%s\n", 2 + chosen[i], color[i], i + 1 < n ? ", \\" : "");
    return 0;
}

static int draw(struct canvas *canvas, const struct runs *all, const struct plot_options *o, struct err *e)
{
    struct run *r = runs_choose(all, o->variant, o->replicate, e);
    struct views_options how = { .tokens = VIEWS_TOKENS, .against = -1, .data = o->data, .steps = true };
    struct views v;
    if (!r || views_read(r, &how, &v, e)) return -1;
    figure_title(canvas, "%s: how early choices of %s are the last", all->study ? all->study->name : "run", r->name);
    int bad = lines(canvas, r, &v, e);
    views_free(&v);
    return bad;
}

const struct figure figure_saturation = { "saturation", "how early routers choose as they do at the end", draw, true };
