/* Series from probes: names are gathered over layers, shapes are the largest of any layer. */
#include "metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct metrics {
    struct arena *arena; const struct graph *graph;
    int n, n_fixed, blocks; struct series *series; double **value;
    int *of;                                                /* probe -> series */
};

/* What a dimension of a metric counts is the first word of its name, behind what says whose router it is. */
static const char *dimension(const char *name)
{
    if (strncmp(name, "attention_", 10) == 0) name += 10;
    if (strncmp(name, "expert_", 7) == 0 || strncmp(name, "router_", 7) == 0) return "expert";
    if (strncmp(name, "head_", 5) == 0) return "head";
    if (strncmp(name, "choice_", 7) == 0) return "choice";
    if (strncmp(name, "position_", 9) == 0) return "position";
    return "index";
}

/* Choices are [token, choice]; all else is one list. */
static bool is_choices(const struct probe *p) { return strcmp(p->unit, "expert") == 0; }

static int find(const struct metrics *m, const char *name)
{
    for (int i = 0; i < m->n; i++) if (strcmp(m->series[i].name, name) == 0) return i;
    return -1;
}

static enum store_type type_of(const struct probe *p)
{
    if (is_choices(p)) return STORE_I16;
    if (strcmp(p->unit, "assignment") == 0) return STORE_U32;
    return p->layer >= 0 || probe_count(p) > 1 ? STORE_F32 : STORE_F64;
}

static void grow_choices(struct series *s, struct shape shape)
{
    static const char *const names[] = { "layer", "token", "choice" };
    s->rank = COUNT(names);
    for (int d = 1; d < COUNT(names); d++) {
        s->dim_name[d] = names[d];
        if (s->dim[d] < shape.dim[d - 1]) s->dim[d] = shape.dim[d - 1];
    }
}

/* Values [n,m] at the front of a place for [N,M] go to its first n rows; the rest is missing. */
static void spread(double *value, struct shape shape, const struct series *s)
{
    int64_t n = shape.dim[0], m = shape.dim[1], width = s->dim[2];
    for (int64_t i = s->dim[1] * width; i-- > 0;)
        value[i] = i / width < n && i % width < m ? value[i / width * m + i % width] : NAN;
}

static void add_probe(struct metrics *m, const struct probe *p, enum store_group group)
{
    int i = find(m, p->name), layered = p->layer >= 0;
    int64_t count = probe_count(p);
    if (i < 0) {
        i = m->n++;
        m->series[i] = (struct series){
            .group = group, .name = p->name, .unit = p->unit, .about = p->about, .better = p->better,
            .type = type_of(p) };
        if (layered) {
            m->series[i].dim_name[m->series[i].rank] = "layer";
            m->series[i].dim[m->series[i].rank++] = m->blocks;
        }
    }
    struct series *s = &m->series[i];
    if (is_choices(p)) { grow_choices(s, p->term[0].carry->shape); return; }
    if (count > 1 && s->rank == layered) { s->dim_name[s->rank] = dimension(p->name); s->dim[s->rank++] = count; }
    if (count > 1 && s->dim[layered] < count) s->dim[layered] = count;
}

/* Series that count the same have as many, though one has them in other layers. */
static void share_dimensions(struct metrics *m)
{
    for (int i = 0; i < m->n; i++)
        for (int k = 0; k < m->n; k++) {
            struct series *a = &m->series[i], *b = &m->series[k];
            for (int d = 0; d < a->rank; d++)
                for (int e = 0; e < b->rank; e++)
                    if (strcmp(a->dim_name[d], b->dim_name[e]) == 0 && a->dim[d] < b->dim[e]) a->dim[d] = b->dim[e];
        }
}

struct metrics *metrics_new(const struct graph *g, enum store_group group, int blocks, const struct series *fixed,
                            int n_fixed)
{
    struct metrics *m = xcalloc(1, sizeof *m);
    m->arena = arena_new();
    m->graph = g;
    m->n_fixed = n_fixed;
    m->blocks = blocks;
    m->series = arena_alloc(m->arena, (size_t)(n_fixed + g->n_probes + 1) * sizeof *m->series);
    m->of = arena_alloc(m->arena, (size_t)(g->n_probes + 1) * sizeof *m->of);
    for (int i = 0; i < n_fixed; i++) m->series[m->n++] = fixed[i];
    for (int i = 0; i < g->n_probes; i++) add_probe(m, &g->probe[i], group);
    share_dimensions(m);
    for (int i = 0; i < g->n_probes; i++) m->of[i] = find(m, g->probe[i].name);
    m->value = arena_alloc(m->arena, (size_t)(m->n + 1) * sizeof *m->value);
    for (int i = 0; i < m->n; i++)
        m->value[i] = arena_alloc(m->arena, (size_t)series_count(&m->series[i]) * sizeof(double));
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m) return;
    arena_free(m->arena);
    free(m);
}

int metrics_count(const struct metrics *m) { return m->n; }
const struct series *metrics_series(const struct metrics *m) { return m->series; }
const double *const *metrics_values(const struct metrics *m) { return (const double *const *)m->value; }

void metrics_gather(struct metrics *m, struct plan *p)
{
    plan_gather(p);
    for (int i = 0; i < m->n; i++)
        for (int64_t k = 0, n = series_count(&m->series[i]); k < n; k++) m->value[i][k] = NAN;
    for (int i = 0; i < m->graph->n_probes; i++) {
        const struct probe *probe = &m->graph->probe[i];
        const struct series *s = &m->series[m->of[i]];
        int64_t stride = probe->layer < 0 ? 0 : series_count(s) / m->blocks;
        double *to = m->value[m->of[i]] + (probe->layer < 0 ? 0 : probe->layer * stride);
        plan_read_probe(p, probe, to);
        if (is_choices(probe)) spread(to, probe->term[0].carry->shape, s);
    }
}

void metrics_cut(struct metrics *m, int64_t n, int64_t of)
{
    for (int i = 0; i < m->n && n < of; i++) {
        const struct series *s = &m->series[i];
        if (s->type != STORE_I16) continue;
        for (int64_t layer = 0; layer < s->dim[0]; layer++) {
            double *value = m->value[i] + layer * s->dim[1] * s->dim[2];
            int64_t rows = 0;                               /* of this layer: a block that looks ahead has fewer */
            while (rows < s->dim[1] && !isnan(value[rows * s->dim[2]])) rows++;
            for (int64_t k = rows / of * n * s->dim[2]; k < rows * s->dim[2]; k++) value[k] = NAN;
        }
    }
}

void metrics_set(struct metrics *m, const char *name, double value)
{
    int i = find(m, name);
    INVARIANT(i >= 0 && series_count(&m->series[i]) == 1, "no scalar series '%s'", name);
    m->value[i][0] = value;
}

double metrics_get(const struct metrics *m, const char *name)
{
    int i = find(m, name);
    return i >= 0 && series_count(&m->series[i]) == 1 ? m->value[i][0] : NAN;
}

const double *metrics_row(const struct metrics *m, const char *name, int64_t *count)
{
    int i = find(m, name);
    if (i < 0) return NULL;
    *count = series_count(&m->series[i]);
    return m->value[i];
}
