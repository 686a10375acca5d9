/* From a run's checkpoints to what its routers do: each is loaded, and asked with the same tokens. */
#include "views.h"
#include "metric.h"
#include "stats.h"
#include "train/trained.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one router ---- */

static double derived_of(const struct view *v, const char *name)
{
    const struct route *r = v->route;
    double top_k = r->rows ? v->choices / (double)r->rows : NAN, out = NAN;
    int64_t idle = r->idle;
    for (const struct derived *d = routing_derived; d->name; d++)
        if (!strcmp(d->name, name))
            routing_derive(d, &(struct loads){ 1, 1, r->experts, v->count, &top_k, .idle = &idle }, &out);
    return out;
}

static double *pairs_of(const struct route *r, bool adjacent, double *chance)
{
    double *together = xcalloc((size_t)r->experts * (size_t)r->experts + 1, sizeof *together);
    *chance = choices_together(r, adjacent, together);
    return together;
}

/* Kinds of bytes: digits, white space, letters, other ASCII, and what is beyond it. */
enum { BYTES = 256, CLASSES = 5 };

static int class_of(int byte)
{
    return byte >= 128 ? 4 : isdigit(byte) ? 0 : isspace(byte) ? 1 : isalpha(byte) ? 2 : 3;
}

static double by_class(const struct routes *of, const struct route *r, double *chance)
{
    int class[BYTES];
    for (int i = 0; i < BYTES; i++) class[i] = class_of(i);
    return choices_class(r, of->id, class, CLASSES, chance);
}

static struct evenness evenness_of(const double *x, int n)
{
    double *known = xcalloc((size_t)n + 1, sizeof *known), least = NAN, most = NAN;
    int there = 0;
    for (int i = 0; i < n; i++) {
        if (isnan(x[i])) continue;
        known[there++] = x[i];
        least = fmin(least, x[i]);
        most = fmax(most, x[i]);
    }
    double median = stats_median(known, there);
    free(known);
    return (struct evenness){ median, least / median, most / median };
}

/* How large what experts write is, and what they write it with: an expert that dies out is far below the others. */
static void fill_health(struct view *v, const struct route *r)
{
    v->output_rms = xcalloc((size_t)r->experts + 1, sizeof *v->output_rms);
    for (int e = 0; e < r->experts; e++) v->output_rms[e] = r->written[e] ? sqrt(r->output_square[e]) : NAN;
    v->output = evenness_of(v->output_rms, r->experts);
    v->weight = evenness_of(r->weight_norm, r->experts - r->idle);
}

static void fill_view(struct view *v, const struct routes *of, const struct route *r, double reach)
{
    *v = (struct view){ .route = r, .count = xcalloc((size_t)r->experts + 1, sizeof *v->count), .reach = reach,
                        .class = NAN, .class_chance = NAN, .path = NAN, .path_chance = NAN };
    v->choices = choices_count(r, v->count);
    v->max_vio = derived_of(v, "max_vio");
    v->max_vio_floor = derived_of(v, "max_vio_floor");
    v->dead = derived_of(v, "dead_frac");
    v->drowned = derived_of(v, "drowned_frac");
    v->gates = choices_gates(r);
    v->margins = choices_margins(r, reach);
    v->together = pairs_of(r, false, &v->together_chance);
    v->adjacent = pairs_of(r, true, &v->adjacent_chance);
    v->input = choices_vocabulary(r, of->id, &v->input_chance, &v->input_ids);
    v->next = choices_vocabulary(r, of->target, &v->next_chance, &v->next_ids);
    fill_health(v, r);
    if (of->bytes) v->class = by_class(of, r, &v->class_chance);
}

char *views_label(const struct views *v, int router, char out[32])
{
    const struct route *r = &v->last.route[router];
    bool alone = true;
    for (int i = 0; i < v->last.n; i++) alone &= !strcmp(v->last.route[i].name, r->name);
    snprintf(out, 32, "%d%s%s", r->layer, alone ? "" : " ", alone ? "" : r->name);
    return out;
}

bool views_strongest(const struct view *v, struct strongest *out)
{
    int64_t experts = v->route->experts;
    *out = (struct strongest){ -1, -1, -1 };
    for (int64_t i = 0; i < experts * experts; i++)
        if (i / experts != i % experts && v->together[i] > out->share)
            *out = (struct strongest){ (int)(i / experts), (int)(i % experts), v->together[i] };
    return out->from >= 0;
}

/* ---- how far the last step of a bias reaches ---- */

/* Of the last change before a step: the most by which keys of two experts of a layer moved against each other, as the
   run's metrics tell it; NaN where no bias moves keys. */
static double range_of(const double *before, const double *after, int64_t n)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(before[i]) || isnan(after[i])) continue;
        low = fmin(low, after[i] - before[i]);
        high = fmax(high, after[i] - before[i]);
    }
    return high >= low ? high - low : NAN;
}

/* The metrics of a router have what it is in before their names, but in a feed-forward. */
static double reach_of(struct run *run, const struct route *r, int64_t step)
{
    static const char *const biases[] = { "router_bias", "router_price" };
    int layer = r->layer;
    double reach = NAN;
    bool other = strcmp(r->name, "ffn") != 0;
    for (int i = 0; i < COUNT(biases) && isnan(reach); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", other ? r->name : "", other ? "_" : "", biases[i]);
        struct reader *reader = run_reader(run);
        const struct reader_series *s = reader ? reader_find(reader, STORE_TRAIN, name) : NULL;
        struct curve c;
        struct err ignored;
        if (!s || layer >= s->dim[0] || metric_read(run, &(struct metric){ .series = *s }, &c, &ignored)) continue;
        int64_t row = c.rows - 1, experts = c.cells / s->dim[0], at = layer * experts;
        while (row >= 0 && c.step[row] > step) row--;
        if (row > 0) reach = range_of(c.value + (row - 1) * c.cells + at, c.value + row * c.cells + at, experts);
        curve_free(&c);
    }
    return reach;
}

/* ---- checkpoints ---- */

static void add_moment(struct views *v, const struct routes *now, const struct routes *before)
{
    int n = now->n;
    v->moment = xrealloc(v->moment, (size_t)(v->n_moments + 1) * sizeof *v->moment);
    struct moment *m = &v->moment[v->n_moments++];
    *m = (struct moment){ .step = now->step, .loss = now->loss, .shared = xcalloc(3 * (size_t)n + 1, sizeof(double)) };
    m->chance = m->shared + n;
    m->kept = m->chance + n;
    for (int i = 0; i < n; i++) {
        double by_chance;
        m->shared[i] = choices_shared(&now->route[i], &v->last.route[i], &m->chance[i]);
        m->kept[i] = before ? choices_shared(&before->route[i], &now->route[i], &by_chance) : NAN;
    }
}

static char *folder_of(const struct run *r)
{
    char *folder = xstrdup(r->path), *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    else strcpy(folder, ".");                               /* no shorter than "run.h5" */
    return folder;
}

/* What can be read: the weights that training began with, which have no path, and the checkpoints after them. malloc'd;
   returns how many, -1: there is no checkpoint. */
static int find_checkpoints(const struct run *r, struct checkpoint **out, struct err *e)
{
    char *folder = folder_of(r), *dir = xmalloc(strlen(folder) + sizeof "/checkpoints");
    struct checkpoint *found = NULL;
    sprintf(dir, "%s/checkpoints", folder);
    int n = checkpoint_list(dir, &found, e), kept = 1;
    if (n == 0) n = err_set(e, "%s: holds no checkpoint (train.keep = 0 and sluice prune leave none)", dir);
    free(folder);
    free(dir);
    if (n > 0) {
        *out = xcalloc((size_t)n + 1, sizeof **out);
        for (int i = 0; i < n; i++) if (found[i].step > 0) (*out)[kept++] = found[i];
    }
    free(found);
    return n > 0 ? kept : -1;
}

static int find_against(const struct checkpoint *list, int n, int64_t step, struct err *e)
{
    char steps[256] = "";
    if (step < 0) return n - 1;
    for (int i = 0; i < n; i++) {
        size_t used = strlen(steps);
        if (list[i].step == step) return i;
        snprintf(steps + used, sizeof steps - used, "%s%lld", i ? ", " : "", (long long)list[i].step);
    }
    err_set(e, "step %lld has no checkpoint; there are: %s", (long long)step, steps);
    return -1;
}

/* ---- a run ---- */

static int open_data(struct run *r, const char *path, struct corpus **out, struct err *e)
{
    return trained_data(path ? path : run_text(r, "/data", "path"), run_text(r, "/data", "hash"), out, e);
}

static int read_closed(struct routes_of *of, int most, struct views *v, struct err *e)
{
    v->closed = xcalloc((size_t)most + 1, sizeof *v->closed);
    for (int i = 0; i < most; i++) {
        double loss;
        if (routes_without(of, i + 1, &loss, e)) return -1;
        if (isnan(loss)) break;
        v->closed[v->n_closed++] = loss;
    }
    return 0;
}

/* Text of the run's tokenizer, whose ids the model knows. */
static int open_domain(const struct corpus_info *own, const char *path, struct corpus **out, struct err *e)
{
    if (corpus_open(out, path, e)) return -1;
    const struct corpus_info *info = corpus_info(*out);
    if (!strcmp(info->tokenizer, own->tokenizer) && info->vocab == own->vocab) return 0;
    err_set(e, "%s: tokens of '%s' with %d ids, the run's are of '%s' with %d", path, info->tokenizer, info->vocab,
            own->tokenizer, own->vocab);
    corpus_close(*out);
    return -1;
}

static int read_domains(struct routes_of *of, const struct corpus_info *own, const struct views_options *o,
                        struct views *v, struct err *e)
{
    v->domain = xcalloc((size_t)o->n_domains + 1, sizeof *v->domain);
    for (int i = 0; i < o->n_domains; i++) {
        const char *path = strchr(o->domain[i], '=');
        struct corpus *c;
        if (!path || path == o->domain[i] || !path[1])
            return err_set(e, "domain '%s': must be NAME=FILE, a packed token file", o->domain[i]);
        if (open_domain(own, path + 1, &c, e)) return -1;
        struct domain *d = &v->domain[v->n_domains];
        int bad = routes_elsewhere(of, c, o->tokens, &d->routes, e);
        corpus_close(c);
        if (bad) return -1;
        d->name = xstrdup(o->domain[i]);
        d->name[path - o->domain[i]] = 0;
        v->n_domains++;
    }
    return 0;
}

int views_shares(const struct domain *d, int router, double *share, double *chance)
{
    const struct route *r = &d->routes.route[router];
    int best = 0;
    *chance = choices_count(r, share) / (double)r->rows / r->experts;
    for (int e = 0; e < r->experts; e++) {
        share[e] /= (double)r->rows;
        if (share[e] > share[best]) best = e;
    }
    return best;
}

static const char *path_of(const struct checkpoint *c) { return *c->path ? c->path : NULL; }

/* A checkpoint of a run that goes on may be gone, or one be damaged: it is left out, with a word. */
static void read_steps(struct routes_of *of, const struct checkpoint *list, int n, int against, uint64_t seed,
                       struct views *v)
{
    struct routes before = { 0 };
    struct err e;
    for (int i = 0; i < n; i++) {
        struct routes now;
        if (i != against && routes_read(of, path_of(&list[i]), seed, &now, &e)) {
            fprintf(stderr, "%s; passed over\n", e.text);
            continue;
        }
        const struct routes *here = i == against ? &v->last : &now;
        add_moment(v, here, before.n ? &before : NULL);
        if (before.route != v->last.route) routes_free(&before);
        before = *here;
    }
    if (before.route != v->last.route) routes_free(&before);
}

static int read_all(struct run *r, struct routes_of *of, const struct corpus_info *own, const struct views_options *o,
                    struct views *v, struct err *e)
{
    struct checkpoint *list;
    int n = find_checkpoints(r, &list, e), against = n > 0 ? find_against(list, n, o->against, e) : -1;
    if (n < 0) return -1;
    uint64_t seed = strtoull(run_text(r, "/", "seed"), NULL, 10);
    int bad = against < 0 || routes_read(of, path_of(&list[against]), seed, &v->last, e);
    if (!bad) {
        v->view = xcalloc((size_t)v->last.n + 1, sizeof *v->view);
        for (int i = 0; i < v->last.n; i++) {
            const struct route *route = &v->last.route[i];
            fill_view(&v->view[i], &v->last, route, reach_of(r, route, v->last.step));
            if (i) v->view[i].path = choices_path(route - 1, route, &v->view[i].path_chance);
        }
        v->leak = routes_leak(of);
        bad = read_domains(of, own, o, v, e) || read_closed(of, o->closed, v, e);
    }
    if (!bad && o->steps) read_steps(of, list, n, against, seed, v);
    free(list);
    return bad ? -1 : 0;
}

int views_read(struct run *r, const struct views_options *o, struct views *out, struct err *e)
{
    struct corpus *corpus;
    struct routes_of *of;
    const char *text = run_config(r);
    *out = (struct views){ 0 };
    if (!*text) return err_set(e, "%s: %s", r->name, r->problem ? r->problem : condition_name(r->condition));
    json_t *config = json_loads(text, 0, NULL);
    if (open_data(r, o->data, &corpus, e)) { json_decref(config); return -1; }
    int bad = routes_open(&of, config, corpus, o->tokens, e);
    json_decref(config);
    if (!bad) {
        bad = routes_routers(of) ? read_all(r, of, corpus_info(corpus), o, out, e)
                                 : err_set(e, "%s: the model has no router: none of its layers is a mixture of experts",
                                           r->name);
        routes_close(of);
    }
    corpus_close(corpus);
    if (bad) views_free(out);
    return bad;
}

void views_free(struct views *v)
{
    for (int i = 0; v->view && i < v->last.n; i++) {
        free(v->view[i].count);
        free(v->view[i].together);
        free(v->view[i].adjacent);
        free(v->view[i].output_rms);
    }
    for (int i = 0; i < v->n_moments; i++) free(v->moment[i].shared);
    for (int i = 0; i < v->n_domains; i++) {
        free(v->domain[i].name);
        routes_free(&v->domain[i].routes);
    }
    routes_free(&v->last);
    free(v->domain);
    free(v->view);
    free(v->moment);
    free(v->closed);
    *v = (struct views){ 0 };
}
