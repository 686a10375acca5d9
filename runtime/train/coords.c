/* What steps change of activations: a session that trains, and a decode graph of the same model that looks on. */
#include "coords.h"
#include "train.h"
#include "model/build.h"

#include <math.h>
#include <stdlib.h>

const char *const coord_name[COORD_COUNT] = { "router logits", "residual stream", "logits" };

struct seen { int n, room; struct node **node; double **first; };
struct look {
    struct arena *arena;
    struct leaves *leaves; struct graph *graph; struct plan *plan; struct state *state;
    struct seen seen[COORD_COUNT];
    struct inputs in;
};

/* A view has no memory of its own: what it shows must stay. */
static void add(struct look *k, enum coord coord, struct node *x)
{
    struct seen *s = &k->seen[coord];
    if (k->graph->failed) return;
    if (s->n == s->room) s->node = arena_more(k->arena, s->node, &s->room, sizeof(struct node *));
    x->output_of_graph = true;
    k->graph->node[node_root(x).node->id]->output_of_graph = true;
    s->node[s->n++] = x;
}

static void add_router(void *to, const char *name, int layer, const struct routed *routed)
{
    (void)name; (void)layer;
    add(to, COORD_ROUTER, routed->routing->logits);
}

static void look_free(struct look *k)
{
    for (int c = 0; c < COORD_COUNT; c++)
        for (int i = 0; k->seen[c].first && i < k->seen[c].n; i++) free(k->seen[c].first[i]);
    inputs_free(k->in);
    plan_free(k->plan);
    state_free(k->state);
    graph_free(k->graph);
    leaves_free(k->leaves);
    arena_free(k->arena);
}

static int look_new(struct look *k, const struct session *s, int threads, struct err *e)
{
    int layers = model_passes(&s->model);
    struct observer observer = { add_router, k, 0 };
    struct plan_how how = { s->backend, (enum precision)s->train.precision, RECOMPUTE_NONE };
    k->arena = arena_new();
    k->leaves = leaves_new();
    k->graph = graph_new(k->leaves);
    struct node **end = arena_alloc(k->arena, (size_t)layers * sizeof *end);
    struct model_size size = { .batch = s->batch, .seq = s->model.seq, .context = s->model.seq, .ends = end,
                               .observer = &observer };
    struct node *logits = model_build(k->graph, k->arena, &s->model, NULL, MODE_DECODE, size);
    for (int i = 0; i < layers && !k->graph->failed; i++) add(k, COORD_STREAM, end[i]);
    add(k, COORD_LOGITS, logits);
    if (plan_new(&k->plan, k->graph, how, e)) return -1;
    k->state = state_new(k->leaves, how.backend, threads);
    plan_bind(k->plan, k->state, NULL);
    plan_begin(k->plan, 0, 1, 1);
    k->in = inputs_new(s->batch, s->model.seq);
    return 0;
}

static double *read_node(const struct look *k, const struct node *n)
{
    double *x = xmalloc((size_t)shape_count(n->shape) * sizeof *x);
    plan_read(k->plan, n, x);
    return x;
}

/* The first time what is seen is kept; then it is held against that. */
static int look_at(struct look *k, const struct session *s, double *change, struct err *e)
{
    if (state_copy(k->leaves, k->state, s->leaves, s->state, e)) return -1;
    inputs_stage(k->state, k->leaves, MODE_DECODE, 0, 1, &k->in);
    plan_forward(k->plan, 0);
    for (int c = 0; c < COORD_COUNT; c++) {
        struct seen *seen = &k->seen[c];
        double sum = 0, values = 0;
        if (!change) seen->first = arena_alloc(k->arena, (size_t)(seen->n + 1) * sizeof *seen->first);
        for (int i = 0; i < seen->n; i++) {
            double *x = read_node(k, seen->node[i]);
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

static int follow(struct look *k, struct session *s, const struct corpus *c, uint64_t seed, int n, const int *after,
                  double (*change)[COORD_COUNT], struct err *e)
{
    struct eval_set held = corpus_eval_set(c, s->batch * s->model.seq);
    if ((int64_t)held.targets < s->batch * s->model.seq)
        return err_set(e, "data: holds out %lld tokens, and a batch has %lld", (long long)held.targets,
                       (long long)(s->batch * s->model.seq));
    struct inputs batch = inputs_new(s->batch, s->model.seq);
    corpus_eval_batch(c, &held, 0, (int)s->batch, s->model.seq, k->in);
    state_fill(s->state, seed);
    int failure = look_at(k, s, NULL, e);
    for (int i = 0, step = 0; i < n && !failure; i++) {
        while (step < after[i]) train_one(s, c, seed, step++, batch);
        failure = look_at(k, s, change[i], e);
    }
    inputs_free(batch);
    return failure;
}

int coords_measure(const json_t *config, const struct corpus *c, uint64_t seed, int threads, int n, const int *after,
                   double (*change)[COORD_COUNT], struct err *e)
{
    json_t *full_rate = json_deep_copy(config);
    struct session *s;
    struct look k = { 0 };
    json_object_set_new(json_object_get(full_rate, "train"), "schedule", json_string("constant"));
    int failure = session_new(&s, full_rate, threads, e);
    json_decref(full_rate);
    if (failure) return -1;
    failure = look_new(&k, s, threads, e) || follow(&k, s, c, seed, n, after, change, e) ? -1 : 0;
    look_free(&k);
    session_free(s);
    return failure;
}
