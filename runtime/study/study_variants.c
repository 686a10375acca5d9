/* What is known of a study's variants: their names, where they compute, how many tokens they see. */
#include "study.h"

#include <stdlib.h>
#include <string.h>

/* A configuration that study_resolve or study_open has checked. */
enum backend_kind variant_backend(const struct variant *v)
{
    const char *word = json_string_value(json_object_get(json_object_get(v->config, "train"), "backend"));
    return word && strcmp(word, "cuda") == 0 ? BACKEND_CUDA : BACKEND_CPU;
}

int variant_mesh(const struct variant *v, int ranks, struct mesh *out, struct err *e)
{
    struct train_conf train;
    struct model_conf model;
    struct problems problems = { 0 };
    struct arena *arena = arena_new();
    struct division d;
    model_load(json_object_get(v->config, "model"), arena, &model, &problems);
    train_load(json_object_get(v->config, "train"), arena, &train, &problems);
    if (problems.n == 0) conf_agree(&model, &train, &problems);
    int failure = problems.n ? err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text)
                             : train_division(&train, ranks, &d, e);
    problems_free(&problems);
    arena_free(arena);
    *out = d.mesh;
    return failure;
}

static json_t *ranks_of(const struct variant *v)
{
    return json_object_get(json_object_get(v->config, "train"), "ranks");
}

/* "ep=4" */
static int divide_axis(struct study *s, const char *word, struct err *e)
{
    char name[8] = "", rest;
    int size = 0, axis = 0;
    bool whole = sscanf(word, "%7[a-z]=%d%c", name, &size, &rest) == 2 && size > 0;
    while (axis < AXES && strcmp(axis_name[axis], name)) axis++;
    if (!whole || axis == AXES || !json_object_get(ranks_of(&s->variant[0]), name))
        return err_set(e, "'%s': must be an axis and how many ranks it has, as ep=4; axes are dp, ep, nodes, tp, cp, "
                          "pp", word);
    for (int v = 0; v < s->n_variants; v++) json_object_set_new(ranks_of(&s->variant[v]), name, json_integer(size));
    return 0;
}

int study_divide(struct study *s, const char *text, struct err *e)
{
    char *all = xstrdup(text), *rest = all, *word;
    int failure = 0;
    for (int v = 0; v < s->n_variants; v++) {
        json_t *ranks = ranks_of(&s->variant[v]);
        for (int a = 0; a < AXES; a++)
            if (json_object_get(ranks, axis_name[a]))
                json_object_set_new(ranks, axis_name[a], json_integer(a != AXIS_DP));
    }
    while (!failure && (word = strsep(&rest, " ,")) != NULL) if (*word) failure = divide_axis(s, word, e);
    free(all);
    return failure;
}

bool study_uses_gpu(const struct study *s)
{
    bool any = false;
    for (int v = 0; v < s->n_variants; v++) any |= variant_backend(&s->variant[v]) == BACKEND_CUDA;
    return any;
}

int64_t train_tokens(const struct train_conf *train, int64_t seq, int64_t steps)
{
    struct ramps ramps = train_ramps(train, seq);
    return train_sequences(&ramps, steps) * seq;
}

int64_t variant_tokens_of(const struct variant *v, int64_t steps)
{
    struct train_conf train;
    struct problems problems = { 0 };
    struct arena *arena = arena_new();
    train_load(json_object_get(v->config, "train"), arena, &train, &problems);
    int64_t seq = config_integer(v->config, "model.seq"),
            tokens = problems.n ? 0 : train_tokens(&train, seq, steps ? steps : train.steps);
    problems_free(&problems);
    arena_free(arena);
    return tokens;
}

int64_t variant_tokens(const struct variant *v) { return variant_tokens_of(v, 0); }

int study_variant(const struct study *s, const char *name)
{
    for (int i = 0; i < s->n_variants; i++) if (strcmp(s->variant[i].name, name) == 0) return i;
    return -1;
}

const char *study_nearest(const struct study *s, const char *name)
{
    const char **known = arena_alloc(s->arena, (size_t)(s->n_variants + 1) * sizeof *known);
    for (int i = 0; i < s->n_variants; i++) known[i] = s->variant[i].name;
    return nearest_name(name, known);
}
