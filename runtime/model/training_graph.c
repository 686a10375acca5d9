/* From a configuration to its training graph. */
#include "training_graph.h"

int training_graph_build(struct training_graph *t, const json_t *config, struct err *e)
{
    struct problems problems = { 0 };
    *t = (struct training_graph){ .arena = arena_new(), .leaves = leaves_new() };
    t->graph = graph_new(t->leaves);
    model_load(json_object_get(config, "model"), t->arena, &t->model, &problems);
    train_load(json_object_get(config, "train"), t->arena, &t->train, &problems);
    t->train.answers = json_is_true(json_object_get(config, "answers"));
    int failure = problems.n ? err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text) : 0;
    problems_free(&problems);
    if (failure) return failure;
    model_build(t->graph, t->arena, &t->model, &t->train, MODE_TRAIN,
                (struct model_size){ .batch = t->train.batch / t->train.micro, .seq = t->model.seq });
    return t->graph->failed ? err_set(e, "%s", t->graph->err.text) : 0;
}

void training_graph_free(struct training_graph *t)
{
    if (!t->arena) return;
    graph_free(t->graph);
    leaves_free(t->leaves);
    arena_free(t->arena);
}
