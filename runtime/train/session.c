/* A model ready to train: graphs, plans and memory. */
#include "train.h"
#include "plan/pipeline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int load_confs(struct session *s, const json_t *config, struct err *e)
{
    struct problems problems = { 0 };
    model_load(json_object_get(config, "model"), s->arena, &s->model, &problems);
    train_load(json_object_get(config, "train"), s->arena, &s->train, &problems);
    s->train.answers = json_is_true(json_object_get(config, "answers"));
    if (problems.n == 0) conf_agree(&s->model, &s->train, &problems);
    int failure = problems.n ? err_set(e, "%s: %s", problems.problem[0].path, problems.problem[0].text) : 0;
    problems_free(&problems);
    return failure;
}

struct model_size session_eval_size(const struct session *s) { return model_eval_size(&s->model, &s->train, s->batch); }

int64_t session_first(const struct session *s) { return place_index(&comm_here()->place, OVER_SEQUENCES) * s->batch; }
int64_t session_sequences(const struct session *s)
{
    return place_group(&comm_here()->place, OVER_SEQUENCES) * s->batch;
}

/* What this rank has of a micro-batch. Alone it has all of it, whatever is asked of ranks: who looks at a model has
   none. */
static int divide(struct session *s, struct division *d, struct err *e)
{
    *d = (struct division){ .mesh = { { 0 } } };
    if (comm_here()->ranks > 1 && train_division(&s->train, comm_here()->ranks, d, e)) return -1;
    comm_divide(&d->mesh);
    s->batch = s->train.batch / s->train.micro / place_group(&comm_here()->place, OVER_SEQUENCES);
    return 0;
}

/* Which ranks have the stages of a pipeline. */
static int find_stages(struct session *s, const struct division *d, struct err *e)
{
    struct schedule schedule;
    struct place at = s->leaves->here;
    int ranks = place_group(&at, OVER_PIPELINE);
    if (ranks == 1) return 0;
    struct stages of = { .schedule = d->schedule, .chunks = d->chunks, .micros = s->train.micro };
    if (pipeline_make(&schedule, s->arena, (enum pipeline)d->schedule, ranks, of.micros, of.chunks, e))
        return err_prefix(e, "train.ranks.schedule: ");
    of.n = schedule.stages;
    of.home = arena_alloc(s->arena, (size_t)of.n * sizeof *of.home);
    for (int stage = 0; stage < of.n; stage++) {
        at.rank = place_at(&at, pipeline_place(&schedule, stage, 0).rank);
        of.home[stage] = place_index(&at, OVER_PP);
    }
    s->leaves->stages = of;
    return 0;
}

int session_plan(struct session **out, const json_t *config, const struct backend *backend, int micro, struct err *e)
{
    struct session *s = xcalloc(1, sizeof *s);
    s->arena = arena_new();
    if (load_confs(s, config, e)) { session_free(s); return -1; }
    if (micro) s->train.micro = micro;
    struct plan_how how = { backend ? backend : backend_find((enum backend_kind)s->train.backend, e),
                            (enum precision)s->train.precision, (enum recompute)s->train.recompute };
    if (!how.backend) { session_free(s); return -1; }
    s->backend = how.backend;
    struct division d;
    if (divide(s, &d, e)) { session_free(s); return -1; }
    s->ramps = train_ramps(&s->train, s->model.seq);
    s->leaves = leaves_new();
    s->leaves->here = comm_here()->place;
    if (find_stages(s, &d, e)) { session_free(s); return -1; }
    s->leaves->offload = s->train.offload;
    s->leaves->overlap = d.overlap;
    s->graph = graph_new(s->leaves);
    s->eval_graph = graph_new(s->leaves);
    struct model_size size = { .batch = s->batch, .seq = s->model.seq }, eval = session_eval_size(s);
    model_build(s->graph, s->arena, &s->model, &s->train, MODE_TRAIN, size);
    s->leaves->closed = true;
    model_build(s->eval_graph, s->arena, &s->model, &s->train, MODE_EVAL, eval);
    if (plan_new(&s->plan, s->graph, how, e) || plan_new(&s->eval_plan, s->eval_graph, how, e)) {
        session_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

size_t session_bytes(const struct session *s)
{
    return plan_bytes(s->plan, s->eval_plan) + state_staged_bytes(s->leaves, s->train.micro);
}

/* More micro-batches need less memory. The smallest number above the present one that fits, or 0. */
static int smaller_fit(const struct session *s, const json_t *config, size_t room)
{
    struct err ignored;
    for (int micro = s->train.micro + 1; micro <= s->train.batch; micro++) {
        struct session *other;
        if (s->train.batch % (micro * place_group(&comm_here()->place, OVER_SEQUENCES)) != 0) continue;
        if (session_plan(&other, config, NULL, micro, &ignored)) continue;
        size_t bytes = session_bytes(other);
        session_free(other);
        if (bytes <= room) return micro;
    }
    return 0;
}

static void refuse(const struct session *s, const json_t *config, size_t room, struct err *e)
{
    const struct plan_report *r = plan_report(s->plan);
    const double mib = 1 << 20;
    int micro = smaller_fit(s, config, room);
    char advice[128] = "not even one sequence at a time would fit";
    if (micro)
        snprintf(advice, sizeof advice, "train.micro = %d would fit: %d sequences at a time, not %lld", micro,
                 s->train.batch / micro, (long long)s->batch);
    err_set(e, "needs %.1f MiB of memory, %.1f are free: weights %.1f, gradients %.1f, optimizer and buffers %.1f, "
               "activations %.1f; %s",
            (double)session_bytes(s) / mib, (double)room / mib, (double)r->weights / mib, (double)r->grads / mib,
            (double)r->buffers / mib, (double)(session_bytes(s) - r->weights - r->grads - r->buffers) / mib, advice);
}

int session_fits(const json_t *config, size_t room, struct err *e)
{
    struct session *s;
    if (session_plan(&s, config, NULL, 0, e)) return -1;
    bool fits = session_bytes(s) <= room;
    if (!fits) refuse(s, config, room, e);
    session_free(s);
    return fits ? 0 : -1;
}

int session_new(struct session **out, const json_t *config, int threads, struct err *e)
{
    struct session *s;
    if (session_plan(&s, config, NULL, 0, e)) { errno = EINVAL; return -1; }
    size_t room = s->backend->room();
    if (session_bytes(s) > room) {
        refuse(s, config, room, e);
        session_free(s);
        errno = ENOMEM;
        return -1;
    }
    s->state = state_new(s->leaves, s->backend, threads);
    bool training_is_larger = plan_report(s->plan)->arena >= plan_report(s->eval_plan)->arena;
    struct plan *first = training_is_larger ? s->plan : s->eval_plan,
                *second = training_is_larger ? s->eval_plan : s->plan;
    plan_bind(first, s->state, NULL);
    plan_bind(second, s->state, first);
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

/* Of these sequences the tokens that this rank has. */
static void stage(struct session *s, enum mode mode, int micro, int micros, const struct inputs *in, int64_t seq)
{
    const struct place *here = &s->leaves->here;
    int64_t ranks = place_group(here, OVER_CP), batch = mode == MODE_EVAL ? session_eval_size(s).batch : s->batch;
    if (ranks == 1) inputs_stage(s->state, s->leaves, mode, micro, micros, in);
    else
        inputs_stage_part(s->state, s->leaves, mode, micro, micros, in, (struct sequence_part){
            batch, seq, place_index(here, OVER_CP) * seq / ranks, seq / ranks,
            model_blocks(&s->model) - model_passes(&s->model) });
}

void session_stage(struct session *s, int micro, const struct inputs *in)
{
    struct inputs step = *in;
    if (!s->train.answers) step.present = NULL;             /* the leaf is an evaluation's alone */
    stage(s, MODE_TRAIN, micro, s->train.micro, &step, s->model.seq);
}

void session_put(struct session *s, const struct inputs *in)
{
    struct inputs eval = *in;
    eval.of = session_eval_size(s).of;
    stage(s, MODE_EVAL, 0, 1, &eval, session_eval_size(s).seq);
}

static bool forward_parts(struct session *s, const struct evaluation *e, int parts, int64_t at_once)
{
    struct model_size size = session_eval_size(s);
    for (int i = 0; i < parts; i++) {
        e->in->place[0] = (int32_t)(i * at_once + place_index(&comm_here()->place, OVER_SEQUENCES) * size.batch);
        corpus_eval_batch(e->corpus, e->set, e->in->place[0], (int)size.batch, (int)size.seq, *e->in);
        session_put(s, e->in);
        if (e->ready && !e->ready(e->with)) return false;
        plan_forward(s->eval_plan, i);
    }
    return true;
}

bool session_evaluate(struct session *s, const struct evaluation *e, int64_t step)
{
    struct model_size size = session_eval_size(s);
    int64_t at_once = size.batch * place_group(&comm_here()->place, OVER_SEQUENCES),
            windows = eval_windows(e->corpus, e->set, (int)size.seq);
    int parts = (int)((windows + at_once - 1) / at_once);
    plan_begin(s->eval_plan, step, s->train.steps, parts);
    if (e->averages) plan_swap_averages(s->eval_plan);
    bool all = forward_parts(s, e, parts, at_once);
    if (e->averages) plan_swap_averages(s->eval_plan);
    if (all) plan_combine(s->eval_plan);
    return all;
}
