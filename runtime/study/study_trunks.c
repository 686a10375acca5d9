/* What runs share: of two configurations that differ in nothing but the number of steps and the schedule, the steps in
   which all that goes by the step has equal values. They have equal bits so far, so one of the runs may begin where the
   other leaves their trunk. */
#include "study.h"
#include "model/registry.h"

#include <stdlib.h>
#include <string.h>

/* All that goes by the step is a control of the training graph, or how large its batch is. Where a run goes back to is
   a checkpoint of its own. */
struct course {
    char *rest; struct training_graph of; struct ramps ramps; int64_t steps; bool goes_back;
};

/* The configuration without what may differ. */
static char *rest_of(const json_t *config)
{
    json_t *copy = json_deep_copy(config), *train = json_object_get(copy, "train");
    json_object_del(train, "steps");
    json_object_del(train, "schedule");
    char *text = study_config_text(copy);
    json_decref(copy);
    return text;
}

/* steps: 0 where it builds no graph */
static void course_build(struct course *c, const json_t *config)
{
    struct err none;
    if (training_graph_build(&c->of, config, &none)) return;
    c->steps = c->of.train.steps;
    c->ramps = train_ramps(&c->of.train, c->of.model.seq);
    c->goes_back = module_traits(c->of.train.guard).goes_back;
}

static void course_free(struct course *c)
{
    free(c->rest);
    training_graph_free(&c->of);
}

static double value_of(const struct leaf *l, int64_t step, int64_t steps)
{
    return l->control.at(l->control.conf, l->control.scale, step, steps);
}

/* Steps in which a control has equal values, of at most `most`. */
static int64_t equal_steps(const struct course *a, const struct course *b, const struct leaf *l, int64_t most)
{
    const struct leaf *other = leaves_find(b->of.leaves, l->path);
    int64_t step = 0;
    while (other && step < most && value_of(l, step, a->steps) == value_of(other, step, b->steps)) step++;
    return step;
}

/* Steps in which batches have equal shapes, of at most `most`. */
static int64_t equal_batches(const struct course *a, const struct course *b, int64_t most)
{
    int64_t step = 0;
    while (step < most && train_micros(&a->ramps, step) == train_micros(&b->ramps, step) &&
           train_longest(&a->ramps, step) == train_longest(&b->ramps, step)) step++;
    return step;
}

/* A warm-up alone is not worth a checkpoint, nor that one waits for it: it is to be a quarter of the shorter run. */
static int64_t shared(const struct course *a, const struct course *b, int64_t *alike)
{
    int64_t shorter = a->steps < b->steps ? a->steps : b->steps;
    *alike = a->goes_back ? 0 : shorter;
    for (int i = 0; i < a->of.leaves->n; i++)
        if (a->of.leaves->leaf[i]->kind == LEAF_CONTROL) *alike = equal_steps(a, b, a->of.leaves->leaf[i], *alike);
    *alike = equal_batches(a, b, *alike);
    return 4 * *alike >= shorter ? *alike : 0;
}

int64_t study_shared(const json_t *a, const json_t *b, int64_t *alike)
{
    struct course left = { .rest = rest_of(a) }, right = { .rest = rest_of(b) };
    int64_t steps = 0;
    *alike = -1;
    if (strcmp(left.rest, right.rest) == 0) {
        course_build(&left, a);
        course_build(&right, b);
        steps = shared(&left, &right, alike);
    }
    course_free(&left);
    course_free(&right);
    return steps;
}

/* The variant before this one with which it shares most. */
static int trunk_of(const struct study *s, struct course *course, int variant, int64_t *most)
{
    struct course *own = &course[variant];
    int trunk = -1;
    *most = 0;
    own->rest = rest_of(s->variant[variant].config);
    for (int i = 0; i < variant; i++) {
        if (strcmp(course[i].rest, own->rest) != 0) continue;
        if (!course[i].of.arena) course_build(&course[i], s->variant[i].config);
        if (!own->of.arena) course_build(own, s->variant[variant].config);
        int64_t alike, steps = shared(&course[i], own, &alike);
        if (steps > *most) {
            *most = steps;
            trunk = i;
        }
    }
    return trunk;
}

void study_trunks(struct study *s)
{
    struct course *course = xcalloc((size_t)s->n_variants + 1, sizeof *course);
    for (int v = 0; v < s->n_variants; v++) {
        int64_t steps;
        int trunk = trunk_of(s, course, v, &steps);
        for (int p = 0; p < s->n_points; p++) {
            struct point *point = &s->point[p];
            if (point->variant != v) continue;
            point->trunk = trunk < 0 ? -1 : study_point(s, trunk, point->replicate);
            point->shared = point->trunk < 0 ? 0 : steps;
        }
    }
    for (int v = 0; v < s->n_variants; v++) course_free(&course[v]);
    free(course);
    study_link(s);
}
