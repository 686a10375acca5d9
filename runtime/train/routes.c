/* A second evaluation graph of a trained model, of which keys, choices and gates of the routers can be read. */
#include "routes.h"
#include "look.h"
#include "trained.h"
#include "cpu/pool.h"
#include "model/build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One router of a graph. about: without rows. */
struct seen { struct route about; const struct node *key, *index, *gate, *score, *rows, *offsets; };
/* A graph that hands out its routers, closed to the best experts of each token or not. */
struct routers { struct look look; int n, room; struct seen *seen; };
struct routes_of {
    struct session *session;                                /* holds the checkpoint that was read last */
    const struct corpus *corpus; struct eval_set set; int threads;
    struct routers *routers;
    struct inputs in;
};

/* ---- a graph ---- */

static void see(void *to, const char *name, int layer, const struct routed *routed)
{
    struct routers *k = to;
    const struct routing *r = routed->routing;
    struct graph *g = r->index->graph;
    if (g->failed) return;
    if (k->n == k->room) k->seen = arena_more(k->look.arena, k->seen, &k->room, sizeof *k->seen);
    struct seen *s = &k->seen[k->n++];
    *s = (struct seen){ { .layer = layer, .experts = r->experts, .idle = r->idle, .top_k = r->k,
                          .k = (int)r->chosen->shape.dim[1], .keyless = r->keyless,
                          .largest_keys = r->largest_keys },
                        r->key, r->chosen, r->gate, r->score, routed->rows, routed->d->offsets };
    snprintf(s->about.name, sizeof s->about.name, "%s", name);
    struct node *all[] = { r->key, r->chosen, r->gate, r->score, routed->rows, routed->d->offsets };
    for (int i = 0; i < COUNT(all); i++) look_keep(g, all[i]);
}

static void routers_free(struct routers *k)
{
    if (!k) return;
    look_free(&k->look);
    free(k);
}

static int routers_new(struct routers **out, const struct routes_of *o, int closed, struct err *e)
{
    const struct session *s = o->session;
    struct routers *k = xcalloc(1, sizeof *k);
    struct observer observer = { see, k, closed };
    look_begin(&k->look);
    model_build(k->look.graph, k->look.arena, &s->model, NULL, MODE_EVAL,
                (struct model_size){ .batch = s->batch, .seq = s->model.seq, .observer = &observer });
    if (look_end(&k->look, s, o->threads, e)) { routers_free(k); return -1; }
    *out = k;
    return 0;
}

/* ---- values ---- */

void routes_judge(struct route *r, int64_t row, const double *key, bool *taken)
{
    double least = INFINITY, other = -INFINITY;
    r->first[row] = -1;
    for (int j = 0; j < r->k; j++) {
        int expert = r->index[row * r->k + j], *first = &r->first[row];
        if (expert < 0) continue;
        if (*first < 0 || (!r->keyless && key[expert] > key[*first])) *first = expert;
        least = fmin(least, key[expert]);
        taken[expert] = true;
    }
    for (int expert = 0; expert < r->experts; expert++) {
        if (!taken[expert]) other = fmax(other, key[expert]);
        taken[expert] = false;
    }
    bool says = r->largest_keys && isfinite(least) && isfinite(other);
    r->edge[row] = says ? (float)least : NAN;
    r->margin[row] = says ? (float)(least - other) : NAN;
}

/* Sums over a batch of what experts wrote; their means are taken when all is read. */
static void collect_written(const struct routers *k, const struct seen *s, struct route *r)
{
    double *rows = look_read(&k->look, s->rows), *from = look_read(&k->look, s->offsets);
    int64_t width = shape_last(s->rows->shape);
    for (int e = 0; e < r->experts - r->idle; e++) {
        double sum = 0;
        for (int64_t i = (int64_t)from[e] * width; i < (int64_t)from[e + 1] * width; i++) sum += rows[i] * rows[i];
        r->written[e] += (int64_t)(from[e + 1] - from[e]);
        r->output_square[e] += sum / (double)width;
    }
    free(rows);
    free(from);
}

/* Rows of one batch, whose first window is number `window` of the probe, that are there. MTP blocks have fewer rows of
   a window than the trunk: those whose token so far ahead is there too. */
static void collect(const struct routes_of *o, const struct routers *k, const struct seen *s, int64_t window,
                    struct route *r)
{
    int64_t batch = o->session->batch, seq = o->session->model.seq, rows = s->index->shape.dim[0], each = rows / batch;
    double *index = look_read(&k->look, s->index), *key = look_read(&k->look, s->key),
           *gate = look_read(&k->look, s->gate), *score = look_read(&k->look, s->score);
    bool *taken = xcalloc((size_t)r->experts, sizeof *taken);
    for (int64_t i = 0; i < rows; i++) {
        int64_t in = i / each * seq + i % each, at = window * seq + in;
        if (o->in.present[in + seq - each] == 0) continue;
        int64_t row = r->rows++;
        r->at[row] = (int32_t)at;
        for (int j = 0; j < r->k; j++) {
            r->index[row * r->k + j] = (int32_t)index[i * r->k + j];
            r->gate[row * r->k + j] = (float)gate[i * r->k + j];
        }
        for (const double *z = score + i * r->experts, *end = z + r->experts; z < end; z++) {
            r->score_high += *z > 0.99;
            r->score_low += *z < 0.01;
        }
        routes_judge(r, row, key + i * r->experts, taken);
    }
    free(taken);
    free(index);
    free(key);
    free(gate);
    free(score);
    collect_written(k, s, r);
}

/* One of the parts that plan_begin was told of: what is in o->in. */
static void forward_part(const struct routes_of *o, const struct routers *k, int64_t part)
{
    inputs_stage(k->look.state, k->look.leaves, MODE_EVAL, 0, 1, &o->in);
    plan_forward(k->look.plan, (int)part);
}

/* Of all parts. */
static double loss_of(const struct routers *k)
{
    double loss = NAN;
    plan_combine(k->look.plan);
    plan_gather(k->look.plan);
    for (int i = 0; i < k->look.graph->n_probes; i++) {
        const struct probe *p = &k->look.graph->probe[i];
        if (p->layer < 0 && !strcmp(p->name, "loss")) plan_read_probe(k->look.plan, p, &loss);
    }
    return loss;
}

static int64_t parts_of(const struct routes_of *o)
{
    int64_t windows = eval_windows(o->corpus, &o->set, o->session->model.seq);
    return (windows + o->session->batch - 1) / o->session->batch;
}

/* Goes through the probe; to NULL: for its loss alone. */
static double run(struct routes_of *o, const struct routers *k, int64_t step, struct routes *to)
{
    int64_t batch = o->session->batch, seq = o->session->model.seq, parts = parts_of(o);
    plan_begin(k->look.plan, step, o->session->train.steps, (int)parts);
    for (int64_t i = 0; i < parts; i++) {
        corpus_eval_batch(o->corpus, &o->set, i * batch, (int)batch, (int)seq, o->in);
        forward_part(o, k, i);
        for (int64_t t = 0; to && t < batch * seq; t++) {
            to->id[i * batch * seq + t] = o->in.ids[t];
            to->target[i * batch * seq + t] = o->in.weight[t] != 0 ? o->in.target[t] : -1;
            to->tokens += o->in.present[t] != 0;
        }
        for (int r = 0; to && r < k->n; r++) collect(o, k, &k->seen[r], i * batch, &to->route[r]);
    }
    return loss_of(k);
}

double routes_leak(struct routes_of *o)
{
    int64_t batch = o->session->batch, seq = o->session->model.seq, parts = parts_of(o), counted = 0;
    int vocab = o->session->model.vocab;
    double sum = 0;
    for (int64_t i = 0; i < parts; i++) {
        double loss[2];
        corpus_eval_batch(o->corpus, &o->set, i * batch, (int)batch, (int)seq, o->in);
        for (int64_t t = 0; t < batch * seq; t++) if (t % seq >= seq / 2) o->in.weight[t] = 0;
        for (int other = 0; other < 2; other++) {
            for (int64_t t = 0; other && t < batch * seq; t++)
                if (t % seq >= seq / 2) o->in.ids[t] = (o->in.ids[t] + vocab / 2) % vocab;
            plan_begin(o->routers->look.plan, 0, o->session->train.steps, 1);
            forward_part(o, o->routers, 0);
            loss[other] = loss_of(o->routers);
        }
        if (isnan(loss[0])) continue;                       /* no target counts */
        sum += fabs(loss[1] - loss[0]);
        counted++;
    }
    return counted ? sum / (double)counted : NAN;
}

/* ---- what experts are ---- */

/* Mean cosine of two of n vectors: (|sum of unit vectors|^2 - n) / (n (n - 1)). NaN: there are no two. */
static double mean_cosine(const real *x, int64_t n, int64_t width)
{
    double *sum = xcalloc((size_t)width, sizeof *sum), square = 0, others = 0;
    for (int64_t i = 0; i < n; i++, x += width) {
        double length = 0;
        for (int64_t d = 0; d < width; d++) length += (double)x[d] * (double)x[d];
        if (length == 0) continue;
        others++;
        for (int64_t d = 0; d < width; d++) sum[d] += (double)x[d] / sqrt(length);
    }
    for (int64_t d = 0; d < width; d++) square += sum[d] * sum[d];
    free(sum);
    return others > 1 ? (square - others) / (others * (others - 1)) : NAN;
}

/* A layer that runs again has the weights of its first pass. */
static int first_pass(const struct model_conf *conf, int layer)
{
    for (int pass = 0; layer < model_passes(conf) && pass < layer; pass++)
        if (model_layer(conf, pass) == model_layer(conf, layer)) return pass;
    return layer;
}

/* Of all stacks of matrices, in what the router is in, of which each expert has one. */
static void weigh(const struct routes_of *o, const struct routers *k, struct route *r)
{
    int layer = first_pass(&o->session->model, r->layer), experts = r->experts - r->idle;
    char within[sizeof r->name + 2];
    snprintf(within, sizeof within, ".%s.", r->name);
    for (int i = 0; i < k->look.leaves->n; i++) {
        const struct leaf *l = k->look.leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT || l->layer != layer || l->values.rank != 3) continue;
        if (l->values.dim[0] != experts || !strstr(l->path, within)) continue;
        real *x = xmalloc((size_t)shape_count(l->values) * sizeof *x);
        state_get_values(k->look.state, l, x);
        int64_t each = shape_count(l->values) / experts;
        for (int64_t w = 0; w < each * experts; w++) r->weight_norm[w / each] += (double)x[w] * (double)x[w];
        free(x);
    }
    for (int e = 0; e < experts; e++) r->weight_norm[e] = sqrt(r->weight_norm[e]);
}

/* What an expert writes by, or what scores it. */
static bool is_asked(const struct leaf *l, bool router)
{
    if (l->kind != LEAF_WEIGHT) return false;
    return router ? l->role == ROLE_ROUTER && l->values.rank == 2
                  : (l->role == ROLE_FFN_DOWN || l->role == ROLE_OUT) && l->values.rank == 3;
}

/* Of the weight, in what the router is in, that is `experts` equal parts. */
static double cosine_of(const struct routes_of *o, const struct routers *k, const struct route *r, bool router,
                        int64_t experts)
{
    int layer = first_pass(&o->session->model, r->layer);
    char within[sizeof r->name + 2];
    snprintf(within, sizeof within, ".%s.", r->name);
    for (int i = 0; i < k->look.leaves->n; i++) {
        const struct leaf *l = k->look.leaves->leaf[i];
        if (!is_asked(l, router) || l->layer != layer || l->values.dim[0] != experts) continue;
        if (!strstr(l->path, within)) continue;
        real *x = xmalloc((size_t)shape_count(l->values) * sizeof *x);
        state_get_values(k->look.state, l, x);
        double cosine = mean_cosine(x, experts, shape_count(l->values) / experts);
        free(x);
        return cosine;
    }
    return NAN;
}

/* ---- a run ---- */

int routes_open(struct routes_of **out, const json_t *config, const struct corpus *c, int64_t tokens, struct err *e)
{
    struct routes_of *o = xcalloc(1, sizeof *o);
    o->corpus = c;
    o->threads = pool_cores();
    o->set = corpus_eval_set(c, tokens);
    if (session_new(&o->session, config, o->threads, e)) { routes_close(o); return -1; }
    o->in = inputs_new(o->session->batch, o->session->model.seq);
    if (o->set.targets == 0) {
        routes_close(o);
        return err_set(e, "%s: nothing is held out to ask the routers with", corpus_info(c)->path);
    }
    if (routers_new(&o->routers, o, 0, e)) { routes_close(o); return -1; }
    *out = o;
    return 0;
}

void routes_close(struct routes_of *o)
{
    if (!o) return;
    routers_free(o->routers);
    inputs_free(o->in);
    session_free(o->session);
    free(o);
}

int routes_routers(const struct routes_of *o) { return o->routers->n; }

static void *room_for(int64_t n, size_t size) { return xcalloc((size_t)n + 1, size); }

static void make_room(const struct routes_of *o, struct routes *to)
{
    int64_t most = parts_of(o) * o->session->batch * o->session->model.seq;
    *to = (struct routes){ .n = o->routers->n, .bytes = !strcmp(corpus_info(o->corpus)->tokenizer, "byte") };
    to->id = room_for(most, sizeof *to->id);
    to->target = room_for(most, sizeof *to->target);
    to->route = room_for(to->n, sizeof *to->route);
    for (int i = 0; i < to->n; i++) {
        struct route *r = &to->route[i];
        *r = o->routers->seen[i].about;
        r->at = room_for(most, sizeof *r->at);
        r->index = room_for(most * r->k, sizeof *r->index);
        r->gate = room_for(most * r->k, sizeof *r->gate);
        r->first = room_for(most, sizeof *r->first);
        r->margin = room_for(most, sizeof *r->margin);
        r->edge = room_for(most, sizeof *r->edge);
        r->written = room_for(r->experts, sizeof *r->written);
        r->output_square = room_for(r->experts, sizeof *r->output_square);
        r->weight_norm = room_for(r->experts, sizeof *r->weight_norm);
    }
}

void routes_free(struct routes *r)
{
    for (int i = 0; i < r->n; i++) {
        struct route *of = &r->route[i];
        free(of->at);
        free(of->index);
        free(of->gate);
        free(of->first);
        free(of->margin);
        free(of->edge);
        free(of->written);
        free(of->output_square);
        free(of->weight_norm);
    }
    free(r->route);
    free(r->id);
    free(r->target);
    *r = (struct routes){ 0 };
}

/* The probe goes through what was loaded. */
static void ask(struct routes_of *o, int64_t step, struct routes *out)
{
    make_room(o, out);
    out->step = step;
    out->loss = run(o, o->routers, step, out);
    for (int i = 0; i < out->n; i++) {
        struct route *r = &out->route[i];
        for (int e = 0; e < r->experts; e++) if (r->written[e]) r->output_square[e] /= (double)r->written[e];
        r->score_high /= (double)(r->rows * r->experts);
        r->score_low /= (double)(r->rows * r->experts);
        weigh(o, o->routers, r);
        r->down_cosine = cosine_of(o, o->routers, r, false, r->experts - r->idle);
        r->row_cosine = cosine_of(o, o->routers, r, true, r->experts);
    }
}

int routes_read(struct routes_of *o, const char *path, uint64_t seed, struct routes *out, struct err *e)
{
    struct session *s = o->session;
    struct checkpoint c = { .step = 0 };
    if (!path) state_fill(s->state, seed);
    else if (trained_load(path, s, &c, e)) return -1;
    if (state_copy(o->routers->look.leaves, o->routers->look.state, s->leaves, s->state, e)) return -1;
    ask(o, c.step, out);
    return 0;
}

int routes_elsewhere(struct routes_of *o, const struct corpus *c, int64_t tokens, struct routes *out, struct err *e)
{
    struct routes_of there = *o;
    there.corpus = c;
    there.set = corpus_eval_set(c, tokens);
    if (there.set.targets == 0)
        return err_set(e, "%s: nothing is held out to ask the routers with", corpus_info(c)->path);
    ask(&there, 0, out);
    return 0;
}

int routes_without(struct routes_of *o, int closed, double *loss, struct err *e)
{
    struct routers *k;
    bool any = false;
    *loss = NAN;
    for (int i = 0; i < o->routers->n; i++) {
        const struct route *r = &o->routers->seen[i].about;
        if (!r->keyless && r->experts - closed < r->top_k) return 0;
        any |= !r->keyless;
    }
    if (!any) return 0;
    if (routers_new(&k, o, closed, e)) return -1;
    int failure = state_copy(k->look.leaves, k->look.state, o->session->leaves, o->session->state, e);
    if (!failure) *loss = run(o, k, 0, NULL);
    routers_free(k);
    return failure;
}
