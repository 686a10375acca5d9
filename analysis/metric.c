/* Names of metrics, and reading them. */
#include "metric.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const metric_group[STORE_GROUPS] = { "train", "eval" };
static const char *const reductions[] = { "mean", "max", "min", NULL };

static int64_t cells_of(const struct reader_series *s)
{
    int64_t cells = 1;
    for (int i = 0; i < s->rank; i++) cells *= s->dim[i];
    return cells;
}

static const struct reader_series *stored(const struct metric *list, int n, enum store_group group, const char *name)
{
    for (int i = 0; i < n; i++)
        if (list[i].series.group == group && !strcmp(list[i].series.name, name)) return &list[i].series;
    return NULL;
}

/* A single expert is no dimension: its counts are [layers]. */
static int64_t experts_of(const struct reader_series *tokens)
{
    return tokens->rank > 1 ? tokens->dim[1] : 1;
}

static bool can_derive(const struct metric *list, int n, enum store_group group, const char *router,
                       const struct derived *d)
{
    char name[64];
    for (int i = 0; i < ROUTING_NEEDS && d->needs[i]; i++) {
        snprintf(name, sizeof name, "%s%s", router, d->needs[i]);
        if (!stored(list, n, group, name)) return false;
    }
    snprintf(name, sizeof name, "%s%s", router, d->name);
    return !stored(list, n, group, name);
}

/* Adds what follows from the counts of one router. */
static int derive(struct metric *m, int n, int given, enum store_group group, const char *router)
{
    char name[64];
    snprintf(name, sizeof name, "%sexpert_tokens", router);
    const struct reader_series *tokens = stored(m, given, group, name);
    for (const struct derived *d = routing_derived; tokens && d->name; d++) {
        if (!can_derive(m, given, group, router, d)) continue;
        struct reader_series s = { .group = group, .type = STORE_F64, .rank = 1, .dim = { tokens->dim[0] },
                                   .better = d->better };
        snprintf(s.name, sizeof s.name, "%s%s", router, d->name);
        snprintf(s.unit, sizeof s.unit, "%s", d->unit);
        snprintf(s.about, sizeof s.about, "%s", d->about);
        snprintf(s.dim_name[0], sizeof s.dim_name[0], "%s", tokens->dim_name[0]);
        m[n++] = (struct metric){ .series = s, .derived = d, .router = router };
    }
    return n;
}

/* Adds what follows from the losses and norms of all steps. */
static int derive_spikes(struct metric *m, int n, int given)
{
    bool known = stored(m, given, STORE_TRAIN, "loss") && stored(m, given, STORE_TRAIN, "grad_norm");
    for (const struct spiked *d = spikes_derived; known && d->name; d++) {
        struct reader_series s = { .group = STORE_TRAIN, .type = STORE_F64, .better = BETTER_LOWER };
        if (stored(m, given, STORE_TRAIN, d->name)) continue;
        snprintf(s.name, sizeof s.name, "%s", d->name);
        snprintf(s.about, sizeof s.about, "%s", d->about);
        m[n++] = (struct metric){ .series = s, .spiked = d };
    }
    return n;
}

bool metric_is_stored(const struct metric *m) { return !m->derived && !m->spiked; }

int metric_derive(struct metric **list, int n)
{
    int room = n, given = n;
    for (const struct spiked *d = spikes_derived; d->name; d++) room++;
    for (const char *const *router = routing_routers; *router; router++)
        for (const struct derived *d = routing_derived; d->name; d++) room += STORE_GROUPS;
    struct metric *m = *list = xrealloc(*list, ((size_t)room + 1) * sizeof *m);
    for (int group = 0; group < STORE_GROUPS; group++)
        for (const char *const *router = routing_routers; *router; router++) n = derive(m, n, given, group, *router);
    return derive_spikes(m, n, given);
}

int metric_list(struct run *r, struct metric **list)
{
    struct reader *reader = run_reader(r);
    int n = reader ? reader_series_count(reader) : 0;
    *list = xcalloc((size_t)n + 1, sizeof **list);
    for (int i = 0; i < n; i++) (*list)[i].series = *reader_series(reader, i);
    return metric_derive(list, n);
}

/* Of a layer, as it runs, what has the router in the configuration: where the slot is one for all layers, or has an
   entry for each; blocks behind the trunk are as its last layer. */
static json_t *owner_of(const json_t *config, const char *router, int64_t layer)
{
    const json_t *model = json_object_get(config, "model"), *order = json_object_get(model, "order");
    json_t *slot = json_object_get(model, *router ? "attention" : "ffn"), *list = json_object_get(slot, "layers");
    size_t passes = json_array_size(order), listed = json_array_size(list), i = (size_t)layer;
    if (passes) i = i < passes ? (size_t)json_integer_value(json_array_get(order, i)) : listed;
    if (listed) slot = json_array_get(list, i < listed ? i : listed - 1);
    return *router ? json_object_get(slot, "experts") : slot;
}

/* What a configuration says of the routers of layers. */
struct routers { double *top_k; int64_t *idle; };

static struct routers routers_of(const char *text, const char *router, int64_t layers)
{
    static const char *const idle[] = { "copy", "constant", "zero" };
    json_t *config = json_loads(text, 0, NULL);
    struct routers of = { xcalloc((size_t)layers + 1, sizeof(double)), xcalloc((size_t)layers + 1, sizeof(int64_t)) };
    for (int64_t i = 0; i < layers; i++) {
        json_t *own = owner_of(config, router, i), *k = json_object_get(json_object_get(own, "router"), "top_k");
        of.top_k[i] = json_is_number(k) ? json_number_value(k) : NAN;
        for (int kind = 0; kind < COUNT(idle); kind++)
            of.idle[i] += json_integer_value(json_object_get(own, idle[kind]));
    }
    json_decref(config);
    return of;
}

static const struct reader_series *counts_of(struct reader *r, const struct metric *m, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", m->router, what);
    return reader_find(r, m->series.group, name);
}

static int read_derived(struct reader *r, const struct metric *m, double **value, struct err *e)
{
    const struct reader_series *tokens = counts_of(r, m, "expert_tokens");
    struct loads l = { .rows = reader_rows(r, m->series.group), .layers = tokens->dim[0],
                       .experts = experts_of(tokens) };
    double *counts = NULL, *needed[ROUTING_NEEDS] = { NULL };
    int bad = reader_read(r, tokens, &counts, e);
    for (int i = 0; i < ROUTING_NEEDS && !bad; i++)
        if (m->derived->needs[i])
            bad = reader_read(r, counts_of(r, m, m->derived->needs[i]), &needed[i], e);
    if (!bad) {
        struct routers of = routers_of(reader_config(r), m->router, l.layers);
        l.tokens = counts;
        l.top_k = of.top_k;
        l.idle = of.idle;
        for (int i = 0; i < ROUTING_NEEDS; i++) l.needed[i] = needed[i];
        *value = xcalloc((size_t)(l.rows * l.layers) + 1, sizeof **value);
        routing_derive(m->derived, &l, *value);
        free(of.top_k);
        free(of.idle);
    }
    for (int i = 0; i < ROUTING_NEEDS; i++) free(needed[i]);
    free(counts);
    return bad;
}

static int read_spikes(struct reader *r, const struct metric *m, double **value, struct err *e)
{
    int64_t rows = reader_rows(r, STORE_TRAIN);
    double *loss = NULL, *norm = NULL;
    int bad = reader_read(r, reader_find(r, STORE_TRAIN, "loss"), &loss, e) ||
              reader_read(r, reader_find(r, STORE_TRAIN, "grad_norm"), &norm, e);
    if (!bad) m->spiked->steps(loss, norm, rows, *value = xcalloc((size_t)rows + 1, sizeof **value));
    free(loss);
    free(norm);
    return bad ? -1 : 0;
}

int metric_read(struct run *r, const struct metric *m, struct curve *out, struct err *e)
{
    struct reader *reader = run_reader(r);
    *out = (struct curve){ .cells = cells_of(&m->series) };
    if (!reader) return err_set(e, "%s: %s", r->name, r->problem ? r->problem : condition_name(r->condition));
    out->rows = reader_rows(reader, m->series.group);
    int failed = reader_steps(reader, m->series.group, &out->step, e) ||
                 (m->derived  ? read_derived(reader, m, &out->value, e)
                  : m->spiked ? read_spikes(reader, m, &out->value, e)
                              : reader_read(reader, &m->series, &out->value, e));
    if (!failed) return 0;
    curve_free(out);
    run_distrust(r, e->text);
    return -1;
}

void curve_free(struct curve *c)
{
    free(c->step);
    free(c->value);
    *c = (struct curve){ 0 };
}

static double reduce(const char *how, const double *x, int64_t n)
{
    double sum = 0, most = -INFINITY, least = INFINITY;
    int64_t measured = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i])) continue;
        measured++;
        sum += x[i];
        most = fmax(most, x[i]);
        least = fmin(least, x[i]);
    }
    if (!measured) return NAN;
    return !strcmp(how, "max") ? most : !strcmp(how, "min") ? least : sum / (double)measured;
}

static void full_name(const struct metric *m, char out[96])
{
    snprintf(out, 96, "%s.%s", metric_group[m->series.group], m->series.name);
}

/* "train.max_vio:mean" without what follows the colon. */
static void base_name(const char *name, char out[96])
{
    snprintf(out, 96, "%.*s", (int)strcspn(name, ":"), name);
}

static int find(const struct metric *list, int n, const char *name, struct metric *found, struct err *e)
{
    int at = -1;
    char (*text)[96] = xcalloc((size_t)n + 1, sizeof *text);
    const char **names = xcalloc((size_t)n + 1, sizeof *names);
    for (int i = 0; i < n; i++) {
        full_name(&list[i], text[i]);
        names[i] = text[i];
        if (!strcmp(text[i], name)) at = i;
    }
    const char *near = at < 0 ? nearest_name(name, names) : NULL;
    if (at >= 0) *found = list[at];
    else if (near) err_set(e, "no metric '%s' (did you mean '%s'?)", name, near);
    else err_set(e, "no metric '%s'; 'sluice show' lists a run's metrics", name);
    free(text);
    free(names);
    return at < 0 ? -1 : 0;
}

int metric_choose(const struct metric *list, int n, const char *name, struct metric *m, struct err *e)
{
    const char *colon = strchr(name, ':');
    char base[96];
    bool known = false;
    base_name(name, base);
    if (find(list, n, base, m, e)) return -1;
    for (int i = 0; reductions[i]; i++) known |= colon && !strcmp(colon + 1, reductions[i]);
    if (colon && !known) return err_set(e, "metric '%s': '%s' must be mean, max or min", name, colon + 1);
    if (!colon && cells_of(&m->series) > 1)
        return err_set(e, "metric '%s' has %lld values a row; ask for '%s:mean', ':max' or ':min'", name,
                       (long long)cells_of(&m->series), name);
    return 0;
}

int64_t *metric_idle(struct run *r, const char *router, int64_t layers)
{
    struct routers of = routers_of(run_config(r), router, layers);
    free(of.top_k);
    return of.idle;
}

bool metric_has(struct run *r, const char *name)
{
    struct metric *list, m;
    struct err e;
    char base[96];
    base_name(name, base);
    int n = metric_list(r, &list), absent = find(list, n, base, &m, &e);
    free(list);
    return !absent;
}

int metric_scalar(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e)
{
    struct metric *list, m;
    int n = metric_list(r, &list), bad = metric_choose(list, n, name, &m, e);
    free(list);
    if (bad || metric_read(r, &m, out, e)) return -1;
    for (int64_t row = 0; row < out->rows && out->cells > 1; row++)
        out->value[row] = reduce(strchr(name, ':') + 1, out->value + row * out->cells, out->cells);
    out->cells = 1;
    if (metric) *metric = m;
    return 0;
}

int metric_cells(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e)
{
    struct metric *list;
    int n = metric_list(r, &list), bad = find(list, n, name, metric, e);
    free(list);
    return bad || metric_read(r, metric, out, e) ? -1 : 0;
}

static int64_t key_of(struct run *r, const char *path)
{
    json_t *config = json_loads(run_config(r), 0, NULL);
    int64_t value = config_integer(config, path);
    json_decref(config);
    return value;
}

int64_t metric_trained(struct run *r)
{
    int64_t seq = key_of(r, "model.seq");
    return key_of(r, "train.eval_seq") > seq ? seq : 0;
}

int metric_positions(struct run *r, const char *name, struct curve *out, struct metric *metric, struct err *e)
{
    struct metric *list;
    int n = metric_list(r, &list), bad = find(list, n, name, metric, e);
    free(list);
    if (bad) return -1;
    const struct reader_series *s = &metric->series;
    if (s->rank != 1 || strcmp(s->dim_name[0], "position"))
        return err_set(e, "metric '%s' has no value for each position; eval.position_loss has", name);
    if (metric_read(r, metric, out, e)) return -1;
    int64_t longer = key_of(r, "train.eval_seq"), seq = longer ? longer : key_of(r, "model.seq"),
            last = out->rows - 1, length = (seq + out->cells - 1) / out->cells;
    out->step = xrealloc(out->step, ((size_t)out->cells + 1) * sizeof *out->step);
    for (int64_t i = 0; i < out->cells; i++) {
        out->value[i] = last < 0 ? NAN : out->value[last * out->cells + i];
        out->step[i] = i * length + length / 2;
    }
    out->rows = last < 0 ? 0 : out->cells;
    out->cells = 1;
    return 0;
}

double metric_last(struct run *r, const char *name)
{
    struct curve c;
    struct err e;
    if (!run_look(r) || metric_scalar(r, name, &c, NULL, &e)) return NAN;
    double last = c.rows ? c.value[c.rows - 1] : NAN;
    curve_free(&c);
    return last;
}
