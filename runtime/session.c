/* A model ready to train: graphs, plans and memory. */
#include "train.h"

#include <stdlib.h>

static int load_confs(struct session *s, const json_t *config, struct err *e)
{
    struct problems problems = { 0 };
    model_load(json_object_get(config, "model"), s->arena, &s->model, &problems);
    train_load(json_object_get(config, "train"), s->arena, &s->train, &problems);
    int failure = problems.n ? err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text) : 0;
    problems_free(&problems);
    return failure;
}

int session_new(struct session **out, const json_t *config, int threads, struct err *e)
{
    struct session *s = xcalloc(1, sizeof *s);
    s->arena = arena_new();
    if (load_confs(s, config, e)) { session_free(s); return -1; }
    enum precision precision = (enum precision)s->train.precision;
    s->batch = s->train.batch / s->train.micro;
    s->leaves = leaves_new();
    s->graph = graph_new(s->leaves);
    s->eval_graph = graph_new(s->leaves);
    model_build(s->graph, s->arena, &s->model, &s->train, MODE_TRAIN, s->batch, s->model.seq, 0);
    s->leaves->frozen = true;
    model_build(s->eval_graph, s->arena, &s->model, NULL, MODE_EVAL, s->batch, s->model.seq, 0);
    if (plan_new(&s->plan, s->graph, precision, e) || plan_new(&s->eval_plan, s->eval_graph, precision, e)) { session_free(s); return -1; }
    s->state = state_new(s->leaves, &backend_cpu, threads);
    plan_bind(s->plan, s->state);
    plan_bind(s->eval_plan, s->state);
    *out = s;
    return 0;
}

void session_free(struct session *s)
{
    if (!s) return;
    plan_free(s->plan);
    plan_free(s->eval_plan);
    state_free(s->state);
    graph_free(s->graph);
    graph_free(s->eval_graph);
    leaves_free(s->leaves);
    arena_free(s->arena);
    free(s);
}

static void put(struct session *s, const char *name, const void *from)
{
    const struct leaf *l = leaves_find(s->leaves, name);
    if (l) state_put(s->state, l, from);
}

void session_put(struct session *s, const int32_t *ids, const int32_t *target, const real *weight, const int32_t *start)
{
    put(s, "ids", ids);
    put(s, "target", target);
    put(s, "weight", weight);
    put(s, "start", start);
}
