/* What steps change of activations: a session that trains, and a decode graph of the same model that looks on. */
#include "coords.h"
#include "look.h"
#include "model/build.h"

#include <math.h>
#include <stdlib.h>

const char *const coord_name[COORD_COUNT] = { "router logits", "residual stream", "logits" };

struct seen { int n, room; struct node **node; double **first; };
struct watch { struct look look; struct seen seen[COORD_COUNT]; struct inputs in; };

static void add(struct watch *k, enum coord coord, struct node *x)
{
    struct seen *s = &k->seen[coord];
    if (k->look.graph->failed) return;
    if (s->n == s->room) s->node = arena_more(k->look.arena, s->node, &s->room, sizeof(struct node *));
    look_keep(k->look.graph, x);
    s->node[s->n++] = x;
}

static void add_router(void *to, const char *name, int layer, const struct routed *routed)
{
    (void)name; (void)layer;
    add(to, COORD_ROUTER, routed->routing->logits);
}

static void watch_free(struct watch *k)
{
    for (int c = 0; c < COORD_COUNT; c++)
        for (int i = 0; k->seen[c].first && i < k->seen[c].n; i++) free(k->seen[c].first[i]);
    inputs_free(k->in);
    look_free(&k->look);
}

static int watch_new(struct watch *k, const struct session *s, int threads, struct err *e)
{
    int layers = model_passes(&s->model);
    struct observer observer = { add_router, k, 0 };
    look_begin(&k->look);
    struct node **end = arena_alloc(k->look.arena, (size_t)layers * sizeof *end);
    struct model_size size = { .batch = s->batch, .seq = s->model.seq, .context = s->model.seq, .ends = end,
                               .observer = &observer };
    struct node *logits = model_build(k->look.graph, k->look.arena, &s->model, NULL, MODE_DECODE, size);
    for (int i = 0; i < layers && !k->look.graph->failed; i++) add(k, COORD_STREAM, end[i]);
    add(k, COORD_LOGITS, logits);
    if (look_end(&k->look, s, threads, e)) return -1;
    plan_begin(k->look.plan, 0, 1, 1);
    k->in = inputs_new(s->batch, s->model.seq);
    return 0;
}

/* The first time what is seen is kept; then it is held against that. */
static int watch_at(struct watch *k, const struct session *s, double *change, struct err *e)
{
    if (state_copy(k->look.leaves, k->look.state, s->leaves, s->state, e)) return -1;
    inputs_stage(k->look.state, k->look.leaves, MODE_DECODE, 0, 1, &k->in);
    plan_forward(k->look.plan, 0);
    for (int c = 0; c < COORD_COUNT; c++) {
        struct seen *seen = &k->seen[c];
        double sum = 0, values = 0;
        if (!change) seen->first = arena_alloc(k->look.arena, (size_t)(seen->n + 1) * sizeof *seen->first);
        for (int i = 0; i < seen->n; i++) {
            double *x = look_read(&k->look, seen->node[i]);
            int64_t n = shape_count(seen->node[i]->shape);
            if (!change) { seen->first[i] = x; continue; }
            for (int64_t j = 0; j < n; j++) sum += (x[j] - seen->first[i][j]) * (x[j] - seen->first[i][j]);
            values += (double)n;
            free(x);
        }
        if (change) change[c] = sqrt(sum / values);
    }
    return 0;
}

static void train_one(struct session *s, const struct corpus *c, uint64_t seed, int64_t step, struct inputs batch)
{
    for (int micro = 0; micro < s->train.micro; micro++) {
        int64_t first = step * s->train.batch + micro * s->batch;
        corpus_batch(c, seed, first, (int)s->batch, s->model.seq, batch);
        session_stage(s, micro, &batch);
    }
    plan_begin(s->plan, step, s->train.steps, s->train.micro);
    plan_step(s->plan, NULL);
}

static int follow(struct watch *k, struct session *s, const struct corpus *c, uint64_t seed, int n, const int *after,
                  double (*change)[COORD_COUNT], struct err *e)
{
    struct eval_set held = corpus_eval_set(c, s->batch * s->model.seq);
    if ((int64_t)held.targets < s->batch * s->model.seq)
        return err_set(e, "data: holds out %lld tokens, and a batch has %lld", (long long)held.targets,
                       (long long)(s->batch * s->model.seq));
    struct inputs batch = inputs_new(s->batch, s->model.seq);
    corpus_eval_batch(c, &held, 0, (int)s->batch, s->model.seq, k->in);
    state_fill(s->state, seed);
    int failure = watch_at(k, s, NULL, e);
    for (int i = 0, step = 0; i < n && !failure; i++) {
        while (step < after[i]) train_one(s, c, seed, step++, batch);
        failure = watch_at(k, s, change[i], e);
    }
    inputs_free(batch);
    return failure;
}

int coords_measure(const json_t *config, const struct corpus *c, uint64_t seed, int threads, int n, const int *after,
                   double (*change)[COORD_COUNT], struct err *e)
{
    json_t *full_rate = json_deep_copy(config);
    struct session *s;
    struct watch k = { 0 };
    json_object_set_new(json_object_get(full_rate, "train"), "schedule", json_string("constant"));
    int failure = session_new(&s, full_rate, threads, e);
    json_decref(full_rate);
    if (failure) return -1;
    failure = watch_new(&k, s, threads, e) || follow(&k, s, c, seed, n, after, change, e) ? -1 : 0;
    watch_free(&k);
    session_free(s);
    return failure;
}
