/* Metrics out of a configuration: its training and evaluation graphs are built, nothing is allocated for tensors. */
#include "declared.h"
#include "train/metrics.h"
#include "train/train.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct metric planned(const struct series *s)
{
    struct metric m = { .series = { .group = s->group, .type = s->type, .rank = s->rank, .is_volatile = s->is_volatile,
                                    .better = s->better } };
    snprintf(m.series.name, sizeof m.series.name, "%s", s->name);
    snprintf(m.series.unit, sizeof m.series.unit, "%s", s->unit);
    snprintf(m.series.about, sizeof m.series.about, "%s", s->about);
    for (int i = 0; i < s->rank; i++) {
        m.series.dim[i] = s->dim[i];
        snprintf(m.series.dim_name[i], sizeof m.series.dim_name[i], "%s", s->dim_name[i]);
    }
    return m;
}

/* Appends the series of one group, whose graph is built in `mode`. */
static int append(struct metric **list, int n, struct arena *arena, struct leaves *leaves,
                  const struct model_conf *model, const struct train_conf *train, enum store_group group, struct err *e)
{
    bool training = group == STORE_TRAIN;
    struct graph *g = graph_new(leaves);
    int64_t batch = train->batch / train->micro;
    struct model_size size = { .batch = batch, .seq = model->seq };
    model_build(g, arena, model, train, training ? MODE_TRAIN : MODE_EVAL,
                training ? size : model_eval_size(model, train, batch));
    if (g->failed) n = err_set(e, "%s", g->err.text);
    else {
        struct metrics *m = metrics_new(g, group, model_blocks(model), training ? train_series : eval_series,
                                        training ? TRAIN_SERIES : EVAL_SERIES);
        *list = xrealloc(*list, (size_t)(n + metrics_count(m) + 1) * sizeof **list);
        for (int i = 0; i < metrics_count(m); i++) (*list)[n++] = planned(&metrics_series(m)[i]);
        metrics_free(m);
    }
    graph_free(g);
    return n;
}

int declared_list(const struct variant *v, struct metric **list, struct err *e)
{
    struct arena *arena = arena_new();
    struct leaves *leaves = leaves_new();
    struct problems problems = { 0 };
    struct model_conf model;
    struct train_conf train;
    int n = 0;
    *list = NULL;
    model_load(json_object_get(v->config, "model"), arena, &model, &problems);
    train_load(json_object_get(v->config, "train"), arena, &train, &problems);
    if (problems.n) n = err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text);
    for (int group = 0; group < STORE_GROUPS && n >= 0; group++) {
        n = append(list, n, arena, leaves, &model, &train, group, e);
        leaves->closed = true;                              /* both graphs have the same weights */
    }
    if (n >= 0) n = metric_derive(list, n);
    problems_free(&problems);
    leaves_free(leaves);
    arena_free(arena);
    return n;
}

void declared_check(const struct study *s, struct problems *problems)
{
    struct err e;
    for (int i = 0; i < s->n_variants; i++) {
        const struct variant *v = &s->variant[(s->baseline + i) % s->n_variants];       /* the baseline first */
        struct metric *list, m;
        int n = declared_list(v, &list, &e);
        bool has = n >= 0 && metric_choose(list, n, s->primary, &m, &e) == 0;
        free(list);
        if (!has && i == 0) {
            problem_add(problems, "primary", "the baseline '%s': %s", v->name, e.text);
            return;
        }
        if (!has) fprintf(stderr, "note: variant '%s': %s: compare leaves it out\n", v->name, e.text);
    }
}
