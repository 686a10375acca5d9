/* The training loop. A step is complete when its row is in the store; a checkpoint holds everything that the steps
   before it left behind, and batches are a function of the step, so going on repeats the same bits. */
#define _GNU_SOURCE
#include "train_private.h"
#include "trunk.h"
#include "model/registry.h"
#include "base/file.h"
#include "base/process.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SPARE_DISK = 16 << 20 };

static volatile sig_atomic_t stop_asked;                    /* the signal that asked */
static void ask_stop(int signal) { if (!stop_asked) stop_asked = signal; }

/* What happened to the pipe to the watcher: POLLOUT: it has room; POLLERR: nobody reads any more. */
static int pipe_state(const struct trainer *t)
{
    struct pollfd to = { t->options->watcher, POLLOUT, 0 };
    return poll(&to, 1, 0) == 1 ? to.revents : 0;
}

/* Number of the step's first sequence. */
static int64_t first_of(struct trainer *t, int64_t step)
{
    const struct session *s = t->session;
    if (step < t->counted) t->counted = t->sequences = 0;
    for (; t->counted < step; t->counted++) t->sequences += train_micros(&s->ramps, t->counted) * session_sequences(s);
    return t->sequences;
}

static int64_t tokens_before(struct trainer *t, int64_t step)
{
    return t->session ? first_of(t, step) * t->session->model.seq : 0;
}

/* A watcher that does not read (its terminal is stopped) misses what only says how far the run is, and stops
   nothing. */
static void tell(struct trainer *t, enum store_status status)
{
    if (t->options->watcher < 0 || (status == STATUS_RUNNING && pipe_state(t) == 0)) return;
    struct progress p = { false, OUTCOME_FINISHED, status == STATUS_PREEMPTED ? stop_asked : 0, t->number, status,
                          t->done, t->session ? t->session->train.steps : 0, t->first, t->taken,
                          t->train ? metrics_get(t->train, "loss") : NAN, t->eval_loss,
                          t->session ? train_seconds(t) - t->spent : 0,
                          tokens_before(t, t->done) - t->first_tokens, tokens_before(t, t->done) };
    ssize_t written = write(t->options->watcher, &p, sizeof p);
    if (written != (ssize_t)sizeof p) ask_stop(SIGPIPE);    /* nobody watches any more: the parent is gone */
}

static void say(const struct trainer *t, enum outcome outcome)
{
    fprintf(stderr, "sluice: %s/%d, step %lld: %s\n", t->variant->name, t->point->replicate, (long long)t->done,
            t->err.text);
    if (outcome == OUTCOME_DISK)
        fprintf(stderr, "  make room where %s lies, then: sluice resume %s\n", t->dir, t->study->dir);
    if (outcome == OUTCOME_MISMATCH)
        fprintf(stderr, "  the same configuration and program gave other numbers than before; sluice resume %s "
                        "--retry-failed --mix drops the rows after the last checkpoint\n", t->study->dir);
}

/* That the whole study is gone is said once for all runs by who watches them. */
static enum outcome fail(struct trainer *t, enum outcome outcome)
{
    bool gone = t->options->watcher >= 0 && access(t->study->dir, F_OK) != 0 && errno == ENOENT;
    if (!gone) say(t, outcome);
    tell(t, STATUS_FAILED);
    return outcome;
}

/* A failure of the machine or of what is on disk. After a failed write the run file stays as it was committed: closing
   it would destroy it. */
static enum outcome leave(struct trainer *t, enum outcome otherwise)
{
    bool mismatch = t->store && store_mismatch(t->store);
    enum outcome outcome = fail(t, mismatch ? OUTCOME_MISMATCH : file_is_full(t->cause) ? OUTCOME_DISK : otherwise);
    if (mismatch && !store_failed(t->store)) {
        struct err why = t->err;
        train_close(t, STATUS_FAILED, LEVEL_ERROR, EVENT_STOPPED, why.text);
    }
    return outcome;
}

static enum outcome end(struct trainer *t, enum outcome outcome, enum store_status status, enum store_event event,
                        const char *text)
{
    if (train_close(t, status, status == STATUS_FINISHED ? LEVEL_INFO : LEVEL_WARNING, event, text))
        return leave(t, OUTCOME_FAILED);
    if (outcome == OUTCOME_FINISHED || outcome == OUTCOME_DIVERGED) {
        train_tidy(t);
        trunk_release(t->study, t->number);
    }
    tell(t, status);
    return outcome;
}

/* ---- one step ---- */

static bool go_on(void) { return !stop_asked; }

/* Of the sequences whose place is staged. False: they cannot be read any more. */
static bool replay(struct trainer *t, enum store_group group, int64_t step, int micro)
{
    if (t->choices && choices_stage(t->choices, group, step, t->batch.place[0], micro, &t->err)) t->data_lost = true;
    return !t->data_lost;
}

/* False: asked to stop, or out of data, before all was there. */
static bool stage(struct trainer *t, int64_t step)
{
    struct session *s = t->session;
    int64_t begin = first_of(t, step);
    for (int micro = 0; micro < train_micros(&s->ramps, step) && t->staged != step; micro++) {
        if (stop_asked && comm_here()->ranks == 1) return false;
        int64_t first = begin + micro * session_sequences(s) + session_first(s);
        corpus_batch(t->corpus, t->point->seed, first, (int)s->batch, s->model.seq, t->batch);
        inputs_cut(t->batch, s->batch, s->model.seq, train_longest(&s->ramps, step));
        t->batch.place[0] = (int32_t)(first - begin);
        session_stage(s, micro, &t->batch);
        if (!replay(t, STORE_TRAIN, step + 1, micro)) return false;
    }
    t->staged = step;
    if (corpus_whole(t->corpus, &t->err)) t->data_lost = true;
    return !t->data_lost;
}

/* False: asked to stop, or out of data, before the weights changed. */
static bool give_step(struct trainer *t)
{
    struct session *s = t->session;
    if (!stage(t, t->done) || stop_asked) return false;
    comm_order(ORDER_STEP, t->done);
    plan_begin(s->plan, t->done, s->train.steps, train_micros(&s->ramps, t->done));
    return plan_step(s->plan, comm_here()->ranks == 1 ? go_on : NULL);      /* ranks end a step that they began */
}

/* By its number, or because the time is spent; while committed rows are repeated time does not count. */
static bool is_last(const struct trainer *t)
{
    const struct train_conf *c = &t->session->train;
    return t->done == c->steps || (c->stop_seconds > 0 && t->done > 0 && t->done >= store_rows(t->store, STORE_TRAIN) &&
                                   train_seconds(t) > c->stop_seconds);
}

/* After so many steps another run begins with them, or what is left here is to be kept. */
static bool is_saved(const struct trainer *t)
{
    return t->done % t->session->train.checkpoint_every == 0 || trunk_is_left(t->study, t->number, t->done);
}

/* A device need not wait for the row of the last step, unless something else is due then that needs the weights as they
   are. */
static bool may_go_ahead(const struct trainer *t)
{
    const struct train_conf *c = &t->session->train;
    return t->session->backend->fetch && !t->goes_back && !t->disk_low && !is_last(t) && t->done % c->eval_every != 0 &&
           !is_saved(t);
}

/* Of ranks, which need not work alike, what their tokens come to. */
static double flops_after(struct trainer *t)
{
    int64_t tokens = tokens_before(t, t->done + 1) - tokens_before(t, t->done);
    if (comm_here()->ranks > 1) return t->flops + t->variant->train_flops_per_token * (double)tokens;
    return t->flops_before + plan_executed_flops(t->session->plan);
}

/* Completes a step, but for its row. False: as of give_step. */
static bool train_step(struct trainer *t)
{
    struct session *s = t->session;
    const struct leaf *rate = leaves_find(s->leaves, "lr");
    if (!t->ahead && !give_step(t)) return false;
    plan_fetch(s->plan);
    t->lr = rate ? (double)plan_control(s->plan, rate) : 0;
    t->flops = flops_after(t);
    t->done++;
    t->ahead = may_go_ahead(t) && give_step(t);
    if (t->done + t->ahead < s->train.steps) stage(t, t->done + t->ahead);    /* while a GPU still computes */
    return true;
}

/* Without a guard there is none. */
static bool is_outlier(const struct trainer *t) { return metrics_get(t->train, "outlier") > 0; }

static int log_step(struct trainer *t)
{
    struct session *s = t->session;
    metrics_gather(t->train, s->plan);
    double norm = metrics_get(t->train, "grad_norm"), targets = metrics_get(t->train, "targets");
    metrics_set(t->train, "tokens", (double)tokens_before(t, t->done));
    metrics_set(t->train, "lr", t->lr);
    metrics_set(t->train, "clipped", s->train.clip > 0 && norm > s->train.clip);
    bool outlier = is_outlier(t);
    metrics_set(t->train, "skipped", !isfinite(norm) || targets == 0 || outlier);
    metrics_set(t->train, "wall_time", train_seconds(t));
    metrics_set(t->train, "wall_time_total", train_seconds_total(t));
    int failure = store_append(t->store, STORE_TRAIN, t->done, metrics_values(t->train), &t->err);
    if (!failure && outlier && !t->goes_back)
        failure = store_event(t->store, t->done, LEVEL_WARNING, EVENT_SKIPPED,
                              "train.guard: loss or gradient norm far above the steps before; the update was left out",
                              &t->err);
    if (failure) t->cause = errno;
    return failure;
}

/* Tokens of all experts that compute, those of attention behind those of feed-forwards; returns how many there are. */
static int64_t gather_loads(struct trainer *t)
{
    static const char *const names[] = { "expert_tokens", "attention_expert_tokens" };
    int64_t n = 0;
    for (int i = 0; i < COUNT(names); i++) {
        int64_t more;
        const double *tokens = metrics_row(t->train, names[i], &more);
        if (!tokens) continue;
        t->loads = xrealloc(t->loads, (size_t)(n + more) * sizeof *tokens);
        memcpy(t->loads + n, tokens, (size_t)more * sizeof *tokens);
        if (i == 0) stop_leave_idle(&t->session->model, t->loads, more);
        n += more;
    }
    return n;
}

static const char *diverged(struct trainer *t)
{
    gather_loads(t);
    return stop_look(t->stop, metrics_get(t->train, "loss"), metrics_get(t->train, "grad_norm"),
                     metrics_get(t->train, "targets"), t->loads);
}

/* Whether the guard sends the run back after this step. */
static bool went_wrong(const struct trainer *t)
{
    bool number = isfinite(metrics_get(t->train, "loss")) && isfinite(metrics_get(t->train, "grad_norm"));
    return t->goes_back && (is_outlier(t) || (!number && metrics_get(t->train, "targets") != 0));
}

/* Whether a staged part of an evaluation may run: nobody asked to stop, and choices that it replays are there. */
static bool part_ready(void *with)
{
    struct trainer *t = with;
    return !(stop_asked && comm_here()->ranks == 1) && replay(t, STORE_EVAL, t->done, 0);
}

/* Of the weights, or of their averages. False: asked to stop, or out of data. What training goes on with is the same
   before and after. */
static bool evaluate_parts(struct trainer *t, bool averages)
{
    struct evaluation e = { t->corpus, &t->eval_set, &t->batch, averages, part_ready, t };
    t->staged = -1;                                         /* its inputs lie where those of the next step would */
    if (!session_evaluate(t->session, &e, t->done)) return false;
    if (corpus_whole(t->corpus, &t->err)) t->data_lost = true;
    return !t->data_lost;
}

/* The weights first, where there are averages: rows are of these. raw: the loss of the weights. */
static bool evaluate_all(struct trainer *t, double *raw)
{
    bool averages = train_averages(&t->session->train);
    if (averages) {
        if (!evaluate_parts(t, false)) return false;
        metrics_gather(t->eval, t->session->eval_plan);
        *raw = metrics_get(t->eval, "loss");
    }
    return evaluate_parts(t, averages);
}

/* 1: done; 0: asked to stop, or out of data; -1: failed. */
static int evaluate(struct trainer *t)
{
    struct session *s = t->session;
    double start = clock_seconds(), raw = NAN;
    comm_order(ORDER_EVALUATE, t->done);
    bool all = evaluate_all(t, &raw);
    t->paused += clock_seconds() - start;
    if (!all) return 0;
    metrics_gather(t->eval, s->eval_plan);
    metrics_cut(t->eval, eval_windows(t->corpus, &t->eval_set, (int)session_eval_size(s).seq), choices_measured(s));
    t->eval_loss = metrics_get(t->eval, "loss");
    double bytes = corpus_info(t->corpus)->bytes_per_token;
    if (train_averages(&s->train)) metrics_set(t->eval, "raw_loss", raw);
    metrics_set(t->eval, "bits_per_byte", bytes > 0 ? t->eval_loss / (bytes * M_LN2) : NAN);
    int failure = store_append(t->store, STORE_EVAL, t->done, metrics_values(t->eval), &t->err);
    if (failure) t->cause = errno;
    tell(t, STATUS_RUNNING);
    return failure ? -1 : 1;
}

/* ---- the loop ---- */

/* Ends the run while what it has can still be written: it goes on when what is wrong outside is right again. */
static enum outcome hold(struct trainer *t, enum outcome outcome, enum store_event event)
{
    struct err why = t->err;
    fail(t, outcome);
    if (train_save(t)) return leave(t, OUTCOME_FAILED);
    return end(t, outcome, STATUS_PREEMPTED, event, why.text);
}

static enum outcome interrupted(struct trainer *t)
{
    char signal[16], text[64];
    if (t->data_lost) return hold(t, OUTCOME_INPUT, EVENT_STOPPED);
    if (train_save(t)) return leave(t, OUTCOME_FAILED);
    bool orphaned = t->options->watcher >= 0 && (pipe_state(t) & POLLERR);
    if (orphaned) snprintf(text, sizeof text, "the study's own process is gone; sluice resume goes on");
    else snprintf(text, sizeof text, "stopped by %s; sluice resume goes on", process_signal(stop_asked, signal));
    return end(t, OUTCOME_INTERRUPTED, STATUS_PREEMPTED, EVENT_PREEMPTED, text);
}

int train_room(const char *dir, double checkpoint_bytes, struct err *e)
{
    struct statvfs v;
    const double mib = 1 << 20, need = checkpoint_bytes + SPARE_DISK;
    if (statvfs(dir, &v) != 0 || (double)v.f_bavail * (double)v.f_frsize >= need) return 0;
    return err_set(e, "%s: %.0f MiB of disk are free, the next checkpoint and rows may need %.0f", dir,
                   (double)v.f_bavail * (double)v.f_frsize / mib, need / mib);
}

/* What follows a completed step, and what a run that goes on has to repeat for it: evaluation, then the checkpoint. */
static int after_step(struct trainer *t, bool last, bool repeated)
{
    const struct train_conf *c = &t->session->train;
    int go = t->done > 0 && (t->done % c->eval_every == 0 || last) ? evaluate(t) : 1;
    if (go > 0 && t->done > 0 && !repeated && (is_saved(t) || last) && train_save(t)) return -1;
    return go;
}

static void look_around(struct trainer *t)
{
    if (clock_seconds() - t->told <= 0.25) return;
    tell(t, STATUS_RUNNING);
    t->told = clock_seconds();
    t->disk_low = train_room(t->dir, (double)train_checkpoint_bytes(t), &t->err) != 0;
}

static enum outcome loop(struct trainer *t)
{
    for (bool repeated = true;; repeated = false) {
        look_around(t);
        if (!t->ahead) {
            if (t->disk_low) return hold(t, OUTCOME_DISK, EVENT_DISK_LOW);
            bool last = is_last(t), all = t->done == t->session->train.steps;
            int go = after_step(t, last, repeated);
            if (go < 0) return leave(t, OUTCOME_FAILED);
            if (go == 0) return interrupted(t);
            if (last)
                return end(t, OUTCOME_FINISHED, STATUS_FINISHED, all ? EVENT_FINISHED : EVENT_STOPPED,
                           all ? "finished" : "stop_seconds: the time is spent");
        }
        if (!train_step(t)) return interrupted(t);
        if (log_step(t)) return leave(t, OUTCOME_FAILED);
        bool back = went_wrong(t);
        const char *reason = back ? stop_return(t->stop) : diverged(t);
        if (!reason && back && train_go_back(t)) return leave(t, OUTCOME_INPUT);
        if (reason) return end(t, OUTCOME_DIVERGED, STATUS_DIVERGED, EVENT_DIVERGED, reason);
    }
}

const struct series train_series[TRAIN_SERIES] = {
    { STORE_TRAIN, "tokens", "token", "tokens seen", STORE_I64, 0, { 0 }, { 0 }, false, BETTER_NONE },
    { STORE_TRAIN, "lr", "", "learning rate of the step", STORE_F64, 0, { 0 }, { 0 }, false, BETTER_NONE },
    { STORE_TRAIN, "clipped", "", "1 where the gradient was scaled down", STORE_U8, 0, { 0 }, { 0 }, false,
      BETTER_NONE },
    { STORE_TRAIN, "skipped", "", "1 where the update was left out", STORE_U8, 0, { 0 }, { 0 }, false, BETTER_LOWER },
    { STORE_TRAIN, "wall_time", "s", "training only", STORE_F64, 0, { 0 }, { 0 }, true, BETTER_LOWER },
    { STORE_TRAIN, "wall_time_total", "s", "with evaluation and files", STORE_F64, 0, { 0 }, { 0 }, true,
      BETTER_LOWER },
};
const struct series eval_series[EVAL_SERIES] = {
    { STORE_EVAL, "bits_per_byte", "bit/byte", "held-out loss, whatever the tokenizer", STORE_F64, 0, { 0 }, { 0 },
      false, BETTER_LOWER },
    { STORE_EVAL, "raw_loss", "nat/token", "held-out loss of the weights, not of their averages", STORE_F64, 0, { 0 },
      { 0 }, false, BETTER_LOWER },
};
int train_eval_series(const struct train_conf *c) { return EVAL_SERIES - !train_averages(c); }

static void prepare(struct trainer *t)
{
    struct session *s = t->session;
    int blocks = model_blocks(&s->model);
    t->batch = inputs_new(s->batch, session_eval_size(s).seq);              /* of a step or an evaluation */
    t->staged = -1;
    t->train = metrics_new(s->graph, STORE_TRAIN, blocks, train_series, TRAIN_SERIES);
    t->eval = metrics_new(s->eval_graph, STORE_EVAL, blocks, eval_series, train_eval_series(&s->train));
    t->stop = stop_new(&s->train, gather_loads(t));
    t->goes_back = module_traits(s->train.guard).goes_back;
    state_fill(s->state, t->point->seed);
}

/* Data, graphs and memory. */
static enum outcome open_point(struct trainer *t)
{
    if (corpus_open(&t->corpus, t->study->data_path, &t->err)) return fail(t, OUTCOME_INPUT);
    if (!study_is_of(t->study, t->point, corpus_info(t->corpus))) {
        err_set(&t->err, "%s: the data, or the configuration in %s/study.json, is not what the study was made with; "
                         "sluice run makes it anew", t->study->data_path, t->study->dir);
        return fail(t, OUTCOME_INPUT);
    }
    if (session_new(&t->session, t->variant->config, t->options->threads, &t->err))
        return fail(t, errno == ENOMEM ? OUTCOME_DEVICE : OUTCOME_SCRIPT);
    t->eval_set = corpus_eval_set(t->corpus, t->session->train.eval_tokens);
    if (t->eval_set.targets == 0) {
        err_set(&t->err, "%s: nothing is held out to measure on", t->study->data_path);
        return fail(t, OUTCOME_INPUT);
    }
    prepare(t);
    if (choices_open(&t->choices, t->study, t->number, t->session, t->corpus, &t->eval_set, &t->err))
        return fail(t, OUTCOME_INPUT);
    return OUTCOME_FINISHED;
}

static enum outcome start(struct trainer *t, const struct past *past)
{
    comm_order(ORDER_OPEN, t->number);
    enum outcome outcome = open_point(t);
    if (outcome) return outcome;
    bool reads = past->exists || model_start(&t->session->model);           /* what others wrote */
    if (train_open(t, past)) return leave(t, reads ? OUTCOME_INPUT : OUTCOME_FAILED);
    if (t->goes_back && t->done == 0 && train_save(t)) return leave(t, OUTCOME_FAILED);
    t->first = t->done;
    t->first_tokens = tokens_before(t, t->first);
    t->began = clock_seconds();
    t->paused = 0;
    comm_order(ORDER_SHARE, 0);
    if (comm_here()->ranks > 1) state_share(t->session->state);
    return loop(t);
}

/* ---- the other ranks ---- */

static enum outcome follow(struct trainer *t)
{
    struct session *s = t->session;
    double raw;
    for (;;) {
        struct order o = comm_follow();
        switch (o.kind) {
        case ORDER_STEP:
            t->done = o.value;
            plan_begin(s->plan, t->done, s->train.steps, train_micros(&s->ramps, t->done));
            if (!stage(t, t->done)) return fail(t, OUTCOME_INPUT);
            plan_step(s->plan, NULL);
            if (t->done + 1 < s->train.steps && !stage(t, t->done + 1)) return fail(t, OUTCOME_INPUT);
            plan_gather(s->plan);    /* as on rank 0: waits for the device, and hears of ranks that died meanwhile */
            break;
        case ORDER_EVALUATE:
            t->done = o.value;
            if (!evaluate_all(t, &raw)) return fail(t, OUTCOME_INPUT);
            plan_gather(s->eval_plan);
            break;
        case ORDER_SHARE:    state_share(s->state); break;
        case ORDER_GET:
        case ORDER_PUT:      state_answer(s->state, o); break;
        case ORDER_SAVE:
        case ORDER_LOAD:     checkpoint_answer(s->leaves, s->state, o); break;
        default:             return OUTCOME_FINISHED;       /* rank 0 leaves the point */
        }
    }
}

/* Before anything is computed: each rank writes in the run's folder. */
static enum outcome find_folder(struct trainer *t)
{
    if (checkpoint_sees(t->dir, &t->err) == 0) return OUTCOME_FINISHED;
    err_prefix(&t->err, "rank %d: ", comm_here()->rank);
    say(t, OUTCOME_INPUT);
    return OUTCOME_INPUT;
}

static void finish(struct trainer *t)
{
    metrics_free(t->train);
    metrics_free(t->eval);
    stop_free(t->stop);
    free(t->loads);
    choices_close(t->choices);
    session_free(t->session);
    if (t->corpus) corpus_close(t->corpus);
    inputs_free(t->batch);
    free(t->dir);
}

static enum outcome outcome_of(enum store_status status)
{
    return status == STATUS_FINISHED ? OUTCOME_FINISHED : status == STATUS_DIVERGED ? OUTCOME_DIVERGED : OUTCOME_FAILED;
}

/* lock -1: nothing can be written here; what is over is so all the same. */
static enum outcome train(struct trainer *t, int lock)
{
    struct past past;
    if (train_past(t->study, t->number, &past, &t->err)) return fail(t, OUTCOME_INPUT);
    t->done = t->first = past.last;
    if (past_over(&past, t->options->retry_failed)) {
        char *path = study_point_path(t->study, t->number, "run.h5");
        int failure = lock >= 0 ? store_mend(path, &t->err) : 0;
        free(path);
        if (failure) return fail(t, OUTCOME_INPUT);
        if (past.status == STATUS_FAILED) {
            err_set(&t->err, "it failed before; sluice resume %s --retry-failed trains it again", t->study->dir);
            fail(t, OUTCOME_FAILED);
        }
        else train_tidy(t);                                 /* a kill may have come between the last word and that */
        tell(t, past.status);
        return outcome_of(past.status);
    }
    t->done = t->first = 0;
    return lock >= 0 ? start(t, &past) : leave(t, OUTCOME_FAILED);
}

static void hear_signals(void)
{
    sigset_t heard = process_hear(ask_stop);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);                               /* a file that may not grow is a full disk: write says so */
    sigprocmask(SIG_UNBLOCK, &heard, NULL);
}

/* A run whose folder was taken away begins anew; the study's own folder is not made again. */
static void make_folder(const struct trainer *t)
{
    char *slash = strrchr(t->dir, '/');
    *slash = 0;
    mkdir(t->dir, 0777);
    *slash = '/';
    mkdir(t->dir, 0777);                                    /* the lock, which comes next, says what went wrong */
}

/* Ranks, which do not wait for a run, give a process that was just killed a moment to let go of it. */
static int take_lock(const char *path)
{
    int lock = process_lock(path);
    for (int tries = comm_here()->ranks > 1 ? 10 : 0; lock < 0 && errno == EWOULDBLOCK && tries > 0; tries--)
        lock = process_lock(path);
    return lock;
}

enum outcome train_point(const struct study *s, int point, const struct train_options *o)
{
    struct trainer trainer = { .study = s, .variant = &s->variant[s->point[point].variant], .point = &s->point[point],
                               .options = o, .number = point,
                               .dir = study_point_path(s, point, ""), .eval_loss = NAN }, *t = &trainer;
    hear_signals();
    make_folder(t);
    char *lock_path = study_point_path(s, point, "run.lock");
    int lock = take_lock(lock_path);
    t->cause = lock < 0 ? errno : 0;
    if (lock < 0) err_set(&t->err, "%s: %s", lock_path, strerror(t->cause));
    enum outcome outcome = OUTCOME_ELSEWHERE;
    if (lock >= 0 || t->cause == EROFS || t->cause == EACCES) outcome = train(t, lock);
    else if (t->cause != EWOULDBLOCK) outcome = leave(t, OUTCOME_FAILED);
    comm_order(ORDER_LEAVE_POINT, point);
    if (lock >= 0) close(lock);
    free(lock_path);
    finish(t);
    return outcome;
}

enum outcome train_follow(const struct study *s, int point, const struct train_options *o)
{
    struct trainer trainer = { .study = s, .variant = &s->variant[s->point[point].variant], .point = &s->point[point],
                               .options = o, .number = point,
                               .dir = study_point_path(s, point, ""), .eval_loss = NAN }, *t = &trainer;
    process_hear(SIG_IGN);                                  /* rank 0 hears them, and has the others end with it */
    signal(SIGXFSZ, SIG_IGN);
    bool opens = comm_follow().kind == ORDER_OPEN;          /* not when the point was finished before */
    enum outcome outcome = opens ? find_folder(t) : OUTCOME_FINISHED;
    if (opens && outcome == OUTCOME_FINISHED) outcome = open_point(t);
    if (opens && outcome == OUTCOME_FINISHED) outcome = follow(t);
    finish(t);
    return outcome;
}
