/* What one configuration costs: its steps, its ops, its memory. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { WARM_STEPS = 2 };

static void set(json_t *to, const char *key, double x) { json_object_set_new(to, key, json_real(x)); }

/* What train_flops counts, for all micro-batches of a step. */
static double step_flops(const struct session *s) { return plan_report(s->plan)->train_flops * s->train.micro; }

static void time_steps(struct bench *b, const struct bench_options *o, json_t *to)
{
    int64_t steps = o->steps;
    double *seconds = xmalloc((size_t)steps * sizeof *seconds), whole = 0;
    for (int i = 0; i < WARM_STEPS; i++) { bench_step(b); bench_gather(b); }
    b->data_seconds = b->gather_seconds = 0;
    double before = bench_processor_seconds();
    for (int64_t i = 0; i < steps; i++) {
        double start = clock_seconds();
        bench_step(b);
        bench_gather(b);
        whole += seconds[i] = clock_seconds() - start;
    }
    double processor = bench_processor_seconds() - before;
    bench_spread(to, "step_seconds", seconds, (int)steps);
    double median = json_real_value(json_object_get(to, "step_seconds")),
           tokens = (double)(b->session->train.batch * b->session->model.seq);
    set(to, "tokens_per_step", tokens);
    set(to, "tokens_per_second", tokens / median);
    set(to, "flops_per_step", step_flops(b->session));
    set(to, "flops_per_second", step_flops(b->session) / median);
    set(to, "data_share", b->data_seconds / whole);
    /* Else the host waits there for the device */
    if (!b->session->backend->fetch) set(to, "gather_share", b->gather_seconds / whole);
    set(to, "processor_seconds", processor / (double)steps);
    set(to, "processor_share", processor / (whole * o->threads));
    free(seconds);
}

/* ---- one configuration ---- */

static double of_flops(const json_t *j, const char *seconds)
{
    return json_real_value(json_object_get(j, "flops_per_step")) / json_real_value(json_object_get(j, seconds));
}

static void hold_against(double best, json_t *to)
{
    set(to, "best_gemm", best);
    set(to, "best_gemm_share", of_flops(to, "step_seconds") / best);
    set(to, "best_gemm_share_max", of_flops(to, "step_seconds_min") / best);
}

/* Each op's least time in any of the steps: what else runs only slows, and not all steps alike. */
static void time_ops(struct bench *b, const struct bench_options *o, const struct bench_ceiling *ceiling, json_t *to)
{
    struct op_time *least = NULL;
    double outside = INFINITY;
    int n = 0;
    for (int64_t i = 0; i < o->steps; i++) {
        plan_timing(b->session->plan, true);
        double start = clock_seconds();
        bench_step(b);
        bench_gather(b);
        double rest = clock_seconds() - start;
        struct op_time *now = plan_times(b->session->plan, &n);
        if (!least) least = plan_times(b->session->plan, &n);
        for (int k = 0; k < n; k++) {
            rest -= now[k].forward_seconds + now[k].backward_seconds;
            least[k].forward_seconds = fmin(least[k].forward_seconds, now[k].forward_seconds);
            least[k].backward_seconds = fmin(least[k].backward_seconds, now[k].backward_seconds);
        }
        free(now);
        outside = fmin(outside, rest);
    }
    plan_timing(b->session->plan, false);
    json_object_set_new(to, "families", bench_families(least, n, outside, ceiling));
    free(least);
    set(to, "best_stream", bench_stream(ceiling, INFINITY));
    set(to, "best_stream_cached", bench_stream(ceiling, 0));
}

/* The steps beside what the machine reaches. */
static void hold(struct bench *b, const struct bench_options *o, json_t *to)
{
    const struct session *s = b->session;
    struct bench_device d = { (enum backend_kind)s->train.backend, s->backend, s->backend->open(o->threads),
                              (enum precision)s->train.precision, o->threads };
    struct bench_ceiling ceiling;
    int64_t size[3];
    double best = bench_best_product(&d, size);
    hold_against(best, to);
    if (o->ops || o->ceilings) bench_ceiling(&ceiling, &d, best);
    if (o->ops) time_ops(b, o, &ceiling, to);
    if (o->ceilings) json_object_set_new(to, "ceilings", bench_ceilings(b, &d, &ceiling, size));
    s->backend->close(d.device);
}

static double peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024;
}

int bench_open(struct bench *b, const json_t *config, const struct bench_options *o, struct err *e)
{
    if (session_new(&b->session, config, o->threads, e)) return -1;
    struct session *s = b->session;
    if (s->model.vocab < corpus_info(b->corpus)->vocab)
        return err_set(e, "vocab: %d: the built-in language has token ids up to %d", s->model.vocab,
                       corpus_info(b->corpus)->vocab - 1);
    if (corpus_windows(b->corpus, s->model.seq) == 0)
        return err_set(e, "seq: %d: longer than the built-in language", s->model.seq);
    b->batch = inputs_new(s->batch, s->model.seq);
    b->metrics = metrics_new(s->graph, STORE_TRAIN, model_blocks(&s->model), train_series, TRAIN_SERIES);
    bench_begin(b);
    return 0;
}

void bench_close(struct bench *b)
{
    metrics_free(b->metrics);
    session_free(b->session);
    inputs_free(b->batch);
}

static json_t *measure(struct bench *b, const struct bench_options *o, double before)
{
    const struct session *s = b->session;
    struct counts counts = model_count(s->leaves);
    struct origin origin;
    struct err ignored;                                     /* it has just computed */
    origin_here(&origin, (enum backend_kind)s->train.backend, &comm_here()->place.mesh, &ignored);
    json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:i, s:i}", "revision", origin.revision, "isa", origin.isa,
                          "batch", s->train.batch, "micro", s->train.micro, "seq", s->model.seq,
                          "precision", s->train.precision == PRECISION_BF16 ? "bf16" : "fp32", "threads", o->threads,
                          "steps", (int)o->steps);
    set(j, "params_total", (double)counts.total);
    set(j, "params_active", (double)counts.active);
    set(j, "params_active_embedded", (double)counts.active_embedded);
    set(j, "first_step_seconds", clock_seconds() - o->began);
    time_steps(b, o, j);
    set(j, "memory_predicted", (double)plan_report(s->plan)->total);
    set(j, "memory_peak", peak_bytes());
    /* Else its tensors are the device's */
    if (s->train.backend == BACKEND_CPU) set(j, "memory_measured", peak_bytes() - before);
    hold(b, o, j);
    return j;
}

int bench_measure(const json_t *config, const struct bench_options *o, json_t **out, struct err *e)
{
    struct bench b = { 0 };
    json_t *j = NULL;
    if (corpus_open(&b.corpus, "synthetic", e)) return -1;
    double before = peak_bytes(), start = clock_seconds();
    int failure = bench_open(&b, config, o, e);
    double seconds = clock_seconds() - start;
    if (!failure) {
        j = measure(&b, o, before);
        set(j, "start_seconds", seconds);
    }
    if (!failure && o->logging) {
        json_t *logging = json_object();
        json_object_set_new(j, "logging", logging);
        failure = bench_logging(&b, o->steps, logging, e);
    }
    if (failure) json_decref(j);
    else *out = j;
    bench_close(&b);
    corpus_close(b.corpus);
    return failure;
}
