/* The training loop. A step is complete when its row is in the store; a checkpoint holds everything that the steps
   before it left behind, and batches are a function of the step, so going on repeats the same bits. */
#define _GNU_SOURCE
#include "train.h"
#include "checkpoint.h"
#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { SPIKE_STEPS = 10, LOW_DISK = 64 << 20 };

struct trainer {
    const struct study *study; const struct variant *variant; const struct point *point; const struct train_options *options;
    int number; char *dir;
    struct corpus *corpus; struct session *session; struct store *store; struct metrics *train, *eval;
    int32_t *ids, *target, *start; float *weight;
    double *window; int n_window, spiking;                  /* trailing losses, for the spike rule */
    double spent, began, paused; int64_t first;             /* training seconds of earlier attempts; of this one; not training */
    double eval_loss;
    int64_t done;                                           /* completed steps */
    struct err err;
};

static volatile sig_atomic_t stop_asked;
static void ask_stop(int signal) { (void)signal; stop_asked = 1; }

static enum outcome fail(struct trainer *t, enum outcome outcome)
{
    fprintf(stderr, "sluice: %s/%d, step %lld: %s\n", t->variant->name, t->point->replicate, (long long)t->done, t->err.text);
    return outcome;
}

/* A failed write leaves the run file as it was committed: the handle is abandoned and the process leaves at once. */
static enum outcome store_failure(struct trainer *t)
{
    enum outcome outcome = store_mismatch(t->store) ? OUTCOME_MISMATCH : errno == ENOSPC || errno == EFBIG || errno == EDQUOT ? OUTCOME_DISK : OUTCOME_FAILED;
    fail(t, outcome);
    if (store_failed(t->store)) _exit((int)outcome);
    return outcome;
}

static double training_seconds(const struct trainer *t) { return t->spent + clock_seconds() - t->began - t->paused; }

static void tell(struct trainer *t, enum store_status status)
{
    if (t->options->watcher < 0) return;
    struct progress p = { t->number, status, t->done, t->session ? t->session->train.steps : 0, t->first, t->train ? metrics_get(t->train, "loss") : NAN, t->eval_loss,
                          t->session ? training_seconds(t) - t->spent : 0, t->session ? (t->done - t->first) * t->session->train.batch * t->session->model.seq : 0 };
    ssize_t written = write(t->options->watcher, &p, sizeof p);
    if (written != (ssize_t)sizeof p) stop_asked = 1;       /* nobody watches any more: the parent is gone */
}

/* ---- one step ---- */

static void put_batch(struct trainer *t, enum split split, int64_t first)
{
    struct session *s = t->session;
    corpus_batch(t->corpus, split, t->point->seed, first, (int)s->batch, s->model.seq, t->ids, t->target, t->weight, t->start);
    session_put(s, t->ids, t->target, t->weight, t->start);
}

/* False: asked to stop before the weights changed. */
static bool train_step(struct trainer *t)
{
    struct session *s = t->session;
    plan_begin(s->plan, t->done, s->train.steps, s->train.micro);
    for (int micro = 0; micro < s->train.micro; micro++) {
        if (stop_asked) return false;
        put_batch(t, SPLIT_TRAIN, t->done * s->train.batch + micro * s->batch);
        plan_forward(s->plan, micro);
        plan_backward(s->plan, micro);
    }
    plan_update(s->plan);
    t->done++;
    return true;
}

static int log_step(struct trainer *t)
{
    struct session *s = t->session;
    real lr = 0;
    const struct leaf *rate = leaves_find(s->leaves, "lr");
    if (rate) state_get(s->state, rate, &lr);
    metrics_gather(t->train, s->plan);
    double norm = metrics_get(t->train, "grad_norm");
    metrics_set(t->train, "tokens", (double)(t->done * s->train.batch * s->model.seq));
    metrics_set(t->train, "lr", (double)lr);
    metrics_set(t->train, "clipped", s->train.clip > 0 && norm > s->train.clip);
    metrics_set(t->train, "skipped", !isfinite(norm));
    metrics_set(t->train, "wall_time", training_seconds(t));
    metrics_set(t->train, "wall_time_total", t->spent + clock_seconds() - t->began);
    return store_append(t->store, STORE_TRAIN, t->done, metrics_values(t->train), &t->err);
}

/* 1: done; 0: asked to stop; -1: failed. Reads buffers only; nothing of training changes. */
static int evaluate(struct trainer *t)
{
    struct session *s = t->session;
    double start = clock_seconds();
    plan_begin(s->eval_plan, t->done, s->train.steps, s->train.eval_batches);
    for (int i = 0; i < s->train.eval_batches; i++) {
        if (stop_asked) return 0;
        put_batch(t, SPLIT_HELD_OUT, i * s->batch);
        plan_forward(s->eval_plan, i);
    }
    metrics_gather(t->eval, s->eval_plan);
    t->eval_loss = metrics_get(t->eval, "loss");
    double bytes = corpus_info(t->corpus)->bytes_per_token;
    metrics_set(t->eval, "bits_per_byte", bytes > 0 ? t->eval_loss / (bytes * M_LN2) : NAN);
    t->paused += clock_seconds() - start;
    return store_append(t->store, STORE_EVAL, t->done, metrics_values(t->eval), &t->err) ? -1 : 1;
}

/* ---- checkpoints ---- */

static char *folder(const struct trainer *t)
{
    char *path;
    INVARIANT(asprintf(&path, "%s/checkpoints", t->dir) >= 0, "no memory for a path");
    return path;
}

static json_t *memory_of(const struct trainer *t)
{
    char hash[33];
    json_t *window = json_array();
    hash_print(t->variant->hash, hash);
    for (int i = 0; i < t->n_window; i++) json_array_append_new(window, json_real(t->window[i]));
    return json_pack("{s:s, s:I, s:f, s:i, s:o}", "config_hash", hash, "seed", (json_int_t)t->point->seed, "seconds", training_seconds(t), "spiking", t->spiking, "window", window);
}

static int save(struct trainer *t)
{
    double start = clock_seconds();
    char path[4096], *dir = folder(t);
    uint64_t bytes = 0;
    json_t *extra = memory_of(t);
    int failure = store_flush(t->store, &t->err) || checkpoint_save(dir, t->done, t->session->leaves, t->session->state, extra, t->session->train.keep, path, sizeof path, &bytes, &t->err);
    if (!failure) {
        const char *name = strrchr(path, '/');
        failure = store_checkpoint(t->store, t->done, name ? name + 1 : path, bytes, "", &t->err);
    }
    json_decref(extra);
    free(dir);
    t->paused += clock_seconds() - start;
    return failure;
}

/* Goes back to the newest good checkpoint; step 0 when there is none. */
static int restore(struct trainer *t)
{
    char path[4096], hash[33], *dir = folder(t);
    json_t *extra = NULL;
    int64_t step = 0;
    int found = checkpoint_newest(dir, path, sizeof path, &t->err);
    free(dir);
    if (found < 0) return -1;
    if (found == 0) return 0;
    if (checkpoint_load(path, t->session->leaves, t->session->state, &step, &extra, &t->err)) return -1;
    hash_print(t->variant->hash, hash);
    const char *saved = json_string_value(json_object_get(extra, "config_hash"));
    int failure = saved && strcmp(saved, hash) == 0 ? 0 : err_set(&t->err, "%s: belongs to another configuration (%s, not %s)", path, saved ? saved : "none", hash);
    json_t *window = json_object_get(extra, "window");
    t->done = step;
    t->spent = json_number_value(json_object_get(extra, "seconds"));
    t->spiking = (int)json_integer_value(json_object_get(extra, "spiking"));
    t->n_window = (int)json_array_size(window);
    for (int i = 0; i < t->n_window && i < t->session->train.stop_window; i++) t->window[i] = json_number_value(json_array_get(window, (size_t)i));
    json_decref(extra);
    return failure;
}

/* ---- rules that stop ---- */

/* Loss far above its trailing window for some steps in a row. */
static bool spikes(struct trainer *t, double loss)
{
    const struct train_conf *c = &t->session->train;
    bool high = false;
    if (c->stop_sigma > 0 && t->n_window == c->stop_window) {
        double mean = 0, square = 0;
        for (int i = 0; i < t->n_window; i++) { mean += t->window[i] / t->n_window; square += t->window[i] * t->window[i] / t->n_window; }
        high = loss > mean + c->stop_sigma * sqrt(fmax(square - mean * mean, 0));
    }
    t->spiking = high ? t->spiking + 1 : 0;
    if (high) return t->spiking >= SPIKE_STEPS;             /* a spike does not enter the window */
    if (t->n_window == c->stop_window) memmove(t->window, t->window + 1, (size_t)(t->n_window - 1) * sizeof *t->window);
    else t->n_window++;
    t->window[t->n_window - 1] = loss;
    return false;
}

static double dead_share(const struct trainer *t)
{
    int64_t n = 0, dead = 0, there = 0;
    const double *tokens = metrics_row(t->train, "expert_tokens", &n);
    for (int64_t i = 0; i < n; i++) { there += !isnan(tokens[i]); dead += tokens[i] == 0; }
    return there ? (double)dead / (double)there : 0;
}

/* The reason to stop as diverged, or NULL. */
static const char *diverged(struct trainer *t)
{
    double loss = metrics_get(t->train, "loss"), norm = metrics_get(t->train, "grad_norm");
    if (!isfinite(loss)) return "the loss is not finite";
    if (!isfinite(norm)) return "the gradient norm is not finite";
    if (spikes(t, loss)) return "stop_sigma: the loss stays far above its window";
    if (t->session->train.stop_dead > 0 && t->done >= t->session->train.stop_window && dead_share(t) >= t->session->train.stop_dead)
        return "stop_dead: too many experts got no token";
    return NULL;
}

/* ---- the run file ---- */

static struct store_plan *describe(struct trainer *t, struct arena *a)
{
    struct session *s = t->session;
    const struct corpus_info *data = corpus_info(t->corpus);
    const struct plan_report *report = plan_report(s->plan);
    struct store_plan *plan = arena_alloc(a, sizeof *plan);
    int n_train = metrics_count(t->train), n_eval = metrics_count(t->eval);
    struct series *series = arena_alloc(a, (size_t)(n_train + n_eval) * sizeof *series);
    memcpy(series, metrics_series(t->train), (size_t)n_train * sizeof *series);
    memcpy(series + n_train, metrics_series(t->eval), (size_t)n_eval * sizeof *series);
    char *config_hash = arena_alloc(a, 33), *data_hash = arena_alloc(a, 33), *fingerprint = arena_alloc(a, 33), host[256] = "";
    hash_print(t->variant->hash, config_hash);
    hash_print(data->hash, data_hash);
    hash_print(t->variant->fingerprint, fingerprint);
    gethostname(host, sizeof host - 1);
#define TEXT(key, value) { key, ATTRIBUTE_TEXT, value, 0, 0 }
#define WHOLE(key, value) { key, ATTRIBUTE_INT, NULL, (int64_t)(value), 0 }
#define NUMBER(key, value) { key, ATTRIBUTE_REAL, NULL, 0, value }
    const struct attribute root[] = { TEXT("study", t->study->name), TEXT("variant", t->variant->name), WHOLE("replicate", t->point->replicate), WHOLE("seed", t->point->seed),
        TEXT("config_hash", config_hash), TEXT("fingerprint", fingerprint), TEXT("rng", "philox4x32-10") };
    const struct attribute environment[] = { TEXT("host", arena_text(a, "%s", host)), WHOLE("threads", t->options->threads), TEXT("backend", backend_cpu.name),
        TEXT("precision", s->train.precision == PRECISION_BF16 ? "bf16" : "fp32"), TEXT("compiler", __VERSION__), WHOLE("deterministic", 1) };
    const struct attribute corpus[] = { TEXT("path", data->path), TEXT("format", data->format), TEXT("tokenizer", data->tokenizer), TEXT("hash", data_hash), WHOLE("tokens", data->tokens),
        WHOLE("documents", data->documents), WHOLE("held_out_tokens", data->held_out_tokens), WHOLE("vocab", data->vocab), NUMBER("bytes_per_token", data->bytes_per_token) };
    const struct attribute cost[] = { TEXT("flop_convention", "1 MAC = 2 FLOPs; attention counts the causal half; lookups 0; backward twice the forward"),
        WHOLE("predicted_peak_bytes", report->total), NUMBER("train_flops_per_token", t->variant->train_flops_per_token), WHOLE("params_total", t->variant->counts.total),
        WHOLE("params_active", t->variant->counts.active), WHOLE("params_non_embedding", t->variant->counts.non_embedding) };
    const struct attributes groups[] = {
        { "/", COUNT(root), arena_copy(a, root, sizeof root) }, { "/environment", COUNT(environment), arena_copy(a, environment, sizeof environment) },
        { "/data", COUNT(corpus), arena_copy(a, corpus, sizeof corpus) }, { "/cost", COUNT(cost), arena_copy(a, cost, sizeof cost) } };
    const struct cost_line whole = { "model", (uint64_t)t->variant->counts.total, (uint64_t)t->variant->counts.active, t->variant->train_flops_per_token / 3, t->variant->train_flops_per_token,
                                     report->arena, report->buffers, t->variant->kv_bytes_per_token };
    char *json = config_canonical(t->variant->config);
    *plan = (struct store_plan){ n_train + n_eval, series, COUNT(groups), arena_copy(a, groups, sizeof groups), 1, arena_copy(a, &whole, sizeof whole),
                                 arena_text(a, "%s", json), t->study->script_text, t->study->script_path };
    free(json);
    return plan;
}

static const struct series train_fixed[] = {
    { STORE_TRAIN, "tokens", "token", "tokens seen", STORE_I64, 0, { 0 }, { 0 }, false },
    { STORE_TRAIN, "lr", "", "learning rate of the step", STORE_F64, 0, { 0 }, { 0 }, false },
    { STORE_TRAIN, "clipped", "", "1 where the gradient was scaled down", STORE_U8, 0, { 0 }, { 0 }, false },
    { STORE_TRAIN, "skipped", "", "1 where the update was left out", STORE_U8, 0, { 0 }, { 0 }, false },
    { STORE_TRAIN, "wall_time", "s", "training only", STORE_F64, 0, { 0 }, { 0 }, true },
    { STORE_TRAIN, "wall_time_total", "s", "with evaluation and files", STORE_F64, 0, { 0 }, { 0 }, true },
};
static const struct series eval_fixed[] = { { STORE_EVAL, "bits_per_byte", "bit/byte", "held-out loss, whatever the tokenizer", STORE_F64, 0, { 0 }, { 0 }, false } };

/* 1: there is nothing left to do. */
static int open_files(struct trainer *t)
{
    char *path;
    struct arena *a = arena_new();
    INVARIANT(asprintf(&path, "%s/run.h5", t->dir) >= 0, "no memory for a path");
    int blocks = model_blocks(&t->session->model), failure = 0;
    t->train = metrics_new(t->session->graph, STORE_TRAIN, blocks, train_fixed, COUNT(train_fixed));
    t->eval = metrics_new(t->session->eval_graph, STORE_EVAL, blocks, eval_fixed, COUNT(eval_fixed));
    struct store_plan *plan = describe(t, a);
    if (access(path, F_OK) == 0) {
        failure = restore(t) || store_resume(&t->store, path, plan, &t->err);
        char text[64];
        snprintf(text, sizeof text, "resumed from step %lld", (long long)t->done);
        if (!failure) failure = store_event(t->store, t->done, LEVEL_INFO, EVENT_RESUMED, text, &t->err);
    } else {
        failure = store_create(&t->store, path, plan, &t->err);
        if (!failure) failure = store_event(t->store, 0, LEVEL_INFO, EVENT_STARTED, "started", &t->err);
    }
    arena_free(a);
    free(path);
    return failure;
}

static enum outcome close_files(struct trainer *t, enum store_status status, enum store_event event, const char *text, enum outcome outcome)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    enum store_level level = status == STATUS_FINISHED ? LEVEL_INFO : LEVEL_WARNING;
    if (store_executed(t->store, plan_executed_flops(t->session->plan), (double)usage.ru_maxrss * 1024, &t->err) || store_event(t->store, t->done, level, event, text, &t->err)) return store_failure(t);
    struct store *store = t->store;
    t->store = NULL;
    if (store_close(store, status, &t->err)) return fail(t, errno == ENOSPC ? OUTCOME_DISK : OUTCOME_FAILED);
    tell(t, status);
    return outcome;
}

/* ---- the loop ---- */

static bool disk_is_low(const struct trainer *t)
{
    struct statvfs v;
    return statvfs(t->dir, &v) == 0 && (double)v.f_bavail * (double)v.f_frsize < LOW_DISK;
}

static enum outcome interrupted(struct trainer *t)
{
    if (save(t)) return store_failure(t);
    return close_files(t, STATUS_PREEMPTED, EVENT_PREEMPTED, "stopped by a signal; sluice resume goes on", OUTCOME_INTERRUPTED);
}

/* What follows a completed step, and what a run that goes on has to repeat for it: evaluation, then the checkpoint. */
static int after_step(struct trainer *t, bool repeated)
{
    const struct train_conf *c = &t->session->train;
    bool last = t->done == c->steps;
    if (t->done > 0 && (t->done % c->eval_every == 0 || last)) {
        int evaluated = evaluate(t);
        if (evaluated <= 0) return evaluated;
        tell(t, STATUS_RUNNING);
    }
    if (!repeated && (t->done % c->checkpoint_every == 0 || last) && save(t)) return -1;
    return 1;
}

static enum outcome loop(struct trainer *t)
{
    const struct train_conf *c = &t->session->train;
    int go = after_step(t, true);
    for (double told = 0; go > 0 && t->done < c->steps;) {
        if (!train_step(t)) { go = 0; break; }
        if (log_step(t)) return store_failure(t);
        const char *reason = diverged(t);
        if (reason) return close_files(t, STATUS_DIVERGED, EVENT_DIVERGED, reason, OUTCOME_DIVERGED);
        if (clock_seconds() - told > 0.25) {
            tell(t, STATUS_RUNNING);
            told = clock_seconds();
            if (disk_is_low(t)) {
                err_set(&t->err, "less than 64 MiB are free where %s lies", t->dir);
                fail(t, OUTCOME_DISK);
                return interrupted(t) == OUTCOME_INTERRUPTED ? OUTCOME_DISK : OUTCOME_FAILED;
            }
        }
        go = after_step(t, false);
        if (go > 0 && c->stop_seconds > 0 && training_seconds(t) > c->stop_seconds && t->done < c->steps)
            return close_files(t, STATUS_FINISHED, EVENT_STOPPED, "stop_seconds: the time is spent", OUTCOME_FINISHED);
    }
    if (go < 0) return store_failure(t);
    if (go == 0) return interrupted(t);
    return close_files(t, STATUS_FINISHED, EVENT_FINISHED, "finished", OUTCOME_FINISHED);
}

static enum outcome start(struct trainer *t)
{
    struct session *s;
    if (corpus_open(&t->corpus, t->study->data_path, &t->err)) return fail(t, OUTCOME_INPUT);
    if (session_new(&t->session, t->variant->config, t->options->threads, &t->err)) return fail(t, OUTCOME_SCRIPT);
    s = t->session;
    if (corpus_windows(t->corpus, SPLIT_TRAIN, s->model.seq) == 0 || corpus_windows(t->corpus, SPLIT_HELD_OUT, s->model.seq) == 0) {
        err_set(&t->err, "%s: too short for sequences of %d tokens", t->study->data_path, s->model.seq);
        return fail(t, OUTCOME_INPUT);
    }
    size_t tokens = (size_t)(s->batch * s->model.seq);
    t->ids = xmalloc(tokens * sizeof *t->ids);
    t->target = xmalloc(tokens * sizeof *t->target);
    t->start = xmalloc(tokens * sizeof *t->start);
    t->weight = xmalloc(tokens * sizeof *t->weight);
    t->window = xcalloc((size_t)s->train.stop_window, sizeof *t->window);
    state_fill(s->state, t->point->seed);
    if (open_files(t)) return t->store ? store_failure(t) : fail(t, OUTCOME_FAILED);
    t->first = t->done;
    t->began = clock_seconds();
    return loop(t);
}

static void finish(struct trainer *t)
{
    metrics_free(t->train);
    metrics_free(t->eval);
    session_free(t->session);
    if (t->corpus) corpus_close(t->corpus);
    free(t->ids);
    free(t->target);
    free(t->start);
    free(t->weight);
    free(t->window);
    free(t->dir);
}

/* What an earlier attempt left: its status, or CREATED when there is no run file. */
static enum store_status earlier(const struct trainer *t)
{
    char *path;
    struct err ignored;
    struct reader *r;
    enum store_status status = STATUS_CREATED;
    INVARIANT(asprintf(&path, "%s/run.h5", t->dir) >= 0, "no memory for a path");
    if (access(path, F_OK) == 0 && reader_open(&r, path, &ignored) == 0) {
        status = reader_status(r);
        reader_close(r);
    }
    free(path);
    return status;
}

enum outcome train_point(const struct study *s, int point, const struct train_options *o)
{
    struct trainer trainer = { .study = s, .variant = &s->variant[s->point[point].variant], .point = &s->point[point], .options = o, .number = point,
                               .dir = study_point_path(s, point, ""), .eval_loss = NAN }, *t = &trainer;
    struct sigaction action = { .sa_handler = ask_stop };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    char *lock_path = study_point_path(s, point, "run.lock");
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    enum outcome outcome;
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
        err_set(&t->err, "%s: %s", lock_path, lock >= 0 && errno == EWOULDBLOCK ? "another process is training this run" : strerror(errno));
        outcome = fail(t, OUTCOME_FAILED);
    } else {
        enum store_status was = earlier(t);
        bool over = was == STATUS_FINISHED || was == STATUS_DIVERGED || (was == STATUS_FAILED && !o->retry_failed);
        outcome = over ? was == STATUS_FINISHED ? OUTCOME_FINISHED : was == STATUS_DIVERGED ? OUTCOME_DIVERGED : OUTCOME_FAILED : start(t);
        if (over) tell(t, was);
    }
    if (lock >= 0) close(lock);
    free(lock_path);
    finish(t);
    return outcome;
}
