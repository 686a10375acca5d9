/* The pool of runs: forks, watches, reports. */
#define _GNU_SOURCE
#include "run.h"
#include "terminal.h"
#include "cpu/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct job { pid_t pid; int pipe, point; struct progress last; double began; bool settled; };

struct runner {
    const struct study *study; const struct run_options *options;
    struct job *job; int jobs, threads, rank, ranks, running, next, ended, lines;
    int finished, diverged, failed, killed;
    enum outcome worst; bool stopping, terminal;
    double began, seconds_of_work; int64_t steps_of_work;   /* what this session's runs needed, for the estimate */
    size_t room[BACKEND_KINDS];                             /* memory of the device that was free before any of its runs began */
    pid_t self; sigset_t outside;                           /* signals are heard only while waiting */
};

static volatile sig_atomic_t asked;
static void ask(int signal) { (void)signal; asked = 1; }

static const char *name_of(const struct runner *r, int point) { return r->study->variant[r->study->point[point].variant].name; }

/* ---- words for a person ---- */

static void format_time(double seconds, char out[24])
{
    if (!(seconds >= 0)) snprintf(out, 24, "?");
    else if (seconds < 90) snprintf(out, 24, "%.0f s", seconds);
    else if (seconds < 5400) snprintf(out, 24, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else snprintf(out, 24, "%d h %02d min", (int)seconds / 3600, (int)seconds / 60 % 60);
}

/* "-" before there is one. */
static const char *format_loss(double loss, char out[24])
{
    snprintf(out, 24, isnan(loss) ? "-" : "%.4f", loss);
    return out;
}

static int64_t steps_of(const struct runner *r, int point)
{
    const json_t *train = json_object_get(r->study->variant[r->study->point[point].variant].config, "train");
    return json_integer_value(json_object_get(train, "steps"));
}

/* Work left over work done, from the step times of this session. */
static double time_left(const struct runner *r)
{
    double seconds = r->seconds_of_work, left = 0;
    int64_t steps = r->steps_of_work;
    for (int i = 0; i < r->jobs; i++) {
        const struct job *j = &r->job[i];
        if (!j->pid) continue;
        seconds += j->last.seconds;
        steps += j->last.step - j->last.first;
        left += (double)(steps_of(r, j->point) - j->last.step);
    }
    for (int p = r->next; p < r->study->n_points; p++) left += (double)steps_of(r, p);
    return steps ? left * seconds / (double)steps / r->jobs : NAN;
}

static void erase(struct runner *r)
{
    if (r->lines) fprintf(stderr, "\033[%dA\033[J", r->lines);
    r->lines = 0;
}

static void draw(struct runner *r)
{
    char left[24];
    struct winsize size = { 0 };
    if (!r->terminal || r->options->show != SHOW_AUTO) return;
    int width = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    erase(r);
    for (int i = 0; i < r->jobs; i++) {
        const struct job *j = &r->job[i];
        char line[512], loss[24], eval[24];
        if (!j->pid) continue;
        const struct progress *p = &j->last;
        format_time(p->step > p->first ? (double)(p->steps - p->step) * p->seconds / (double)(p->step - p->first) : NAN, left);
        snprintf(line, sizeof line, "  %s/%d  step %lld/%lld  loss %s  eval %s  %.0f tok/s  %s left", name_of(r, j->point), r->study->point[j->point].replicate,
                 (long long)p->step, (long long)steps_of(r, j->point), format_loss(p->loss, loss), format_loss(p->eval_loss, eval), p->seconds > 0 ? (double)p->tokens / p->seconds : 0, left);
        fprintf(stderr, "%.*s\n", width - 1, line);
        r->lines++;
    }
    format_time(time_left(r), left);
    fprintf(stderr, "%s: %d of %d runs done, %s left\n", r->study->name, r->ended, r->study->n_points, left);
    r->lines++;
}

static void json_line(const struct runner *r, const char *event, const struct progress *p)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:I, s:I, s:i, s:i}", "event", event, "study", r->study->name, "variant", name_of(r, p->point), "replicate", r->study->point[p->point].replicate,
                          "status", status_name[p->status], "step", (json_int_t)p->step, "steps", (json_int_t)steps_of(r, p->point), "runs_done", r->ended, "runs", r->study->n_points);
    double left = time_left(r);
    if (isfinite(p->loss)) json_object_set_new(j, "loss", json_real(p->loss));
    if (isfinite(p->eval_loss)) json_object_set_new(j, "eval_loss", json_real(p->eval_loss));
    if (isfinite(left)) json_object_set_new(j, "seconds_left", json_real(left));
    char *text = json_dumps(j, JSON_COMPACT);
    fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(j);
}

static void say_end(struct runner *r, const struct job *j, enum outcome outcome, int signal_number)
{
    const struct progress *p = &j->last;
    char took[24], left[24], eval[24];
    bool idle = p->step == p->first && outcome == OUTCOME_FINISHED;
    if (r->options->show == SHOW_NOTHING) return;
    if (r->options->show == SHOW_JSON) { json_line(r, "end", p); return; }
    erase(r);
    format_time(clock_seconds() - j->began, took);
    format_time(time_left(r), left);
    fprintf(stderr, "[%*d/%d] %s/%d ", r->study->n_points > 9 ? 2 : 1, r->ended, r->study->n_points, name_of(r, j->point), r->study->point[j->point].replicate);
    if (signal_number) fprintf(stderr, "was killed by signal %d (%s) at step %lld", signal_number, strsignal(signal_number), (long long)p->step);
    else if (outcome == OUTCOME_FINISHED && idle) fprintf(stderr, "was finished before");
    else if (outcome == OUTCOME_FINISHED) fprintf(stderr, "finished: eval loss %s", format_loss(p->eval_loss, eval));
    else if (outcome == OUTCOME_DIVERGED) fprintf(stderr, "diverged at step %lld", (long long)p->step);
    else if (outcome == OUTCOME_INTERRUPTED) fprintf(stderr, "stopped at step %lld", (long long)p->step);
    else fprintf(stderr, "failed at step %lld (code %d)", (long long)p->step, (int)outcome);
    if (idle) fputc('\n', stderr);
    else fprintf(stderr, ", %s; %s left\n", took, left);
}

/* ---- jobs ---- */

/* What ranks have in common: else their sums would be nobody's numbers. */
struct common { struct origin origin; struct hash study; };

static struct common common_here(const struct study *s)
{
    struct common c = { { "", "" }, { 0, 0 } };
    struct err e;
    for (int p = 0; p < s->n_points; p++) {
        const struct variant *v = &s->variant[s->point[p].variant];
        c.study = hash_more(hash_more(c.study, &v->hash, sizeof v->hash), &s->point[p].seed, sizeof s->point[p].seed);
        if (origin_here(&c.origin, variant_backend(v), &e)) c.origin = (struct origin){ "", "" };
    }
    return c;
}

static bool is_like_rank_0(const struct runner *r, struct common here)
{
    struct common first = here;
    char study[33], its[33];
    comm_here()->broadcast(&first, sizeof first, 0);
    if (origin_equal(&here.origin, &first.origin) && hash_equal(here.study, first.study)) return true;
    hash_print(here.study, study);
    hash_print(first.study, its);
    fprintf(stderr, "sluice: rank %d has study %s, revision %s, %s; rank 0 has study %s, revision %s, %s\n"
            "  all ranks need the same program, script and data; SLUICE_ISA sets an instruction set that all have\n",
            r->rank, study, here.origin.revision, here.origin.isa, its, first.origin.revision, first.origin.isa);
    return false;
}

static int cores_among(int locals) { return pool_cores() > locals ? pool_cores() / locals : 1; }

/* Ranks are joined once, for all points in turn. */
_Noreturn static void all_points(const struct runner *r, struct train_options *o)
{
    struct err e;
    enum outcome worst = OUTCOME_FINISHED;
    struct common here = common_here(r->study);             /* asks in a process of its own, which MPI does not bear */
    if (comm_join(&e)) {
        fprintf(stderr, "sluice: %s\n", e.text);
        _exit(OUTCOME_DEVICE);
    }
    if (!is_like_rank_0(r, here)) exit(OUTCOME_INPUT);
    if (!r->options->threads) o->threads = cores_among(comm_here()->locals);
    if (r->rank > 0) for (struct order next; worst == OUTCOME_FINISHED && (next = comm_follow()).kind == ORDER_POINT; ) worst = train_follow(r->study, (int)next.value, o);
    for (int p = 0; r->rank == 0 && p < r->study->n_points && worst == OUTCOME_FINISHED; p++) {
        comm_order(ORDER_POINT, p);
        struct progress end = { .ended = true, .outcome = train_point(r->study, p, o), .point = p };
        if (end.outcome != OUTCOME_FINISHED && end.outcome != OUTCOME_DIVERGED) worst = end.outcome;
        if (write(o->watcher, &end, sizeof end) != (ssize_t)sizeof end) worst = OUTCOME_INTERRUPTED;
    }
    if (r->rank == 0) comm_order(ORDER_END, 0);
    else if (worst != OUTCOME_FINISHED) exit((int)worst);   /* the others cannot go on */
    comm_leave();
    _exit((int)worst);
}

_Noreturn static void child(const struct runner *r, int point, int to)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != r->self) _exit(OUTCOME_INTERRUPTED);
    for (int i = 0; i < r->jobs; i++) if (r->job[i].pid) close(r->job[i].pipe);
    struct train_options o = { r->threads, to, r->options->retry_failed, r->options->mix };
    if (r->ranks > 1) all_points(r, &o);
    enum outcome outcome = train_point(r->study, point, &o);
    _exit((int)outcome);
}

static void launch(struct runner *r, struct job *j, int point)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "sluice: no pipe to watch a run: %s\n", strerror(errno));
        exit(1);
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "sluice: a run cannot be started: %s\n", strerror(errno));
        exit(1);
    }
    if (pid == 0) {
        close(ends[0]);
        child(r, point, ends[1]);
    }
    close(ends[1]);
    *j = (struct job){ .pid = pid, .pipe = ends[0], .point = point, .began = clock_seconds() };
    j->last = (struct progress){ .point = point, .status = STATUS_RUNNING, .loss = NAN, .eval_loss = NAN };
    r->running++;
}

static void settle(struct runner *r, struct job *j, enum outcome outcome, int killed)
{
    r->seconds_of_work += j->last.seconds;
    r->steps_of_work += j->last.step - j->last.first;
    r->ended += outcome != OUTCOME_INTERRUPTED;
    r->finished += outcome == OUTCOME_FINISHED;
    r->diverged += outcome == OUTCOME_DIVERGED;
    r->killed += killed != 0;
    r->failed += outcome != OUTCOME_FINISHED && outcome != OUTCOME_DIVERGED && outcome != OUTCOME_INTERRUPTED;
    if (outcome == OUTCOME_INTERRUPTED) r->stopping = true;
    else if (outcome != OUTCOME_FINISHED && outcome != OUTCOME_DIVERGED && r->worst == OUTCOME_FINISHED) r->worst = outcome;
    if (outcome == OUTCOME_DISK) {                          /* the others would only fill it again */
        r->stopping = true;
        r->worst = OUTCOME_DISK;
    }
    say_end(r, j, outcome, killed);
    j->settled = true;
}

static void collect(struct runner *r, struct job *j)
{
    int status;
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR) { }
    int killed = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    close(j->pipe);
    j->pid = 0;
    r->running--;
    if (killed && r->rank > 0) fprintf(stderr, "sluice: rank %d of %d was killed by signal %d (%s)\n", r->rank, r->ranks, killed, strsignal(killed));
    if (!j->settled) settle(r, j, killed ? OUTCOME_FAILED : (enum outcome)WEXITSTATUS(status), killed);
}

/* A process that trains several points goes on with the next. */
static void go_on(struct job *j, int point)
{
    if (!j->settled) return;
    j->settled = false;
    j->point = point;
    j->began = clock_seconds();
}

/* False: the run closed its end, which it does only by ending. */
static bool listen_to(struct runner *r, struct job *j)
{
    struct progress p;
    ssize_t n = read(j->pipe, &p, sizeof p);
    if (n < 0 && errno == EINTR) return true;
    if (n != (ssize_t)sizeof p) return false;
    if (p.ended) { settle(r, j, p.outcome, 0); return true; }
    go_on(j, p.point);
    j->last = p;
    if (r->options->show == SHOW_JSON) json_line(r, "step", &p);
    return true;
}

static void stop_all(struct runner *r)
{
    r->stopping = true;
    for (int i = 0; i < r->jobs; i++) if (r->job[i].pid) kill(r->job[i].pid, SIGTERM);
}

static enum backend_kind kind_of(const struct runner *r, int point) { return variant_backend(&r->study->variant[r->study->point[point].variant]); }

/* Runs that would not fit into a device's memory together are not started together; one that does not fit alone says so itself. */
static bool fits(struct runner *r, int point)
{
    struct err e;
    enum backend_kind kind = kind_of(r, point);
    const struct backend *b = backend_find(kind, &e);
    size_t need = r->study->variant[r->study->point[point].variant].memory_bytes + b->process_bytes;
    int running = 0;
    for (int i = 0; i < r->jobs; i++) {
        if (!r->job[i].pid || kind_of(r, r->job[i].point) != kind) continue;
        need += r->study->variant[r->study->point[r->job[i].point].variant].memory_bytes + b->process_bytes;
        running++;
    }
    if (running == 0 && (r->jobs == 1 || b->probe_room(&r->room[kind], &e))) r->room[kind] = 0;
    return running == 0 || need < r->room[kind];
}

static void start_more(struct runner *r)
{
    for (int i = 0; i < r->jobs && !r->stopping; i++)
        if (!r->job[i].pid && r->next < r->study->n_points && fits(r, r->next)) {
            launch(r, &r->job[i], r->next++);
            if (r->ranks > 1) r->next = r->study->n_points;
        }
}

static void watch(struct runner *r)
{
    struct pollfd fds[256];
    int of[256], n = 0;
    for (int i = 0; i < r->jobs; i++)
        if (r->job[i].pid) { of[n] = i; fds[n++] = (struct pollfd){ r->job[i].pipe, POLLIN, 0 }; }
    int ready = ppoll(fds, (nfds_t)n, &(struct timespec){ .tv_nsec = 500 * 1000 * 1000 }, &r->outside);
    if (asked && !r->stopping) stop_all(r);
    for (int i = 0; ready > 0 && i < n; i++)
        if (fds[i].revents && !listen_to(r, &r->job[of[i]])) collect(r, &r->job[of[i]]);
}

/* ---- the study ---- */

/* Whether a point was computed by another program or device than would go on with the study: 1; 0: no; -1: there is no device, and
   e says what is missing. */
static int is_foreign(const struct runner *r, int point, const struct past *past, struct origin *now, struct err *e)
{
    if (origin_here(now, kind_of(r, point), e)) return -1;
    return past->exists && !origin_equal(&past->origin, now);
}

/* Numbers of two revisions or instruction sets differ in their last bits: a study must not compare them unasked. A device that is
   missing is told once, before the first run. */
static enum outcome check_origins(const struct runner *r)
{
    const struct study *s = r->study;
    struct past *past = xcalloc((size_t)s->n_points, sizeof *past);
    struct origin now;
    struct err e;
    int left = 0, foreign = 0, p = 0;
    for (int i = 0; i < s->n_points; i++) {
        if (train_past(s, i, &past[i], &e)) past[i].status = STATUS_FINISHED, past[i].exists = false;     /* the run itself will say it */
        else left += !past_over(&past[i], r->options->retry_failed);
    }
    while (left && p < s->n_points && (foreign = is_foreign(r, p, &past[p], &now, &e)) == 0) p++;
    if (foreign < 0) fprintf(stderr, "sluice: %s/%d: %s\n", name_of(r, p), s->point[p].replicate, e.text);
    else if (foreign && !r->options->mix)
        fprintf(stderr, "sluice: %s/%d of %s was computed by revision %s with %s; this is revision %s with %s, and its bits may differ\n"
                "  --mix goes on all the same; another --out begins anew\n", name_of(r, p), s->point[p].replicate, s->dir,
                *past[p].origin.revision ? past[p].origin.revision : "unknown", *past[p].origin.isa ? past[p].origin.isa : "unknown", now.revision, now.isa);
    free(past);
    return foreign < 0 ? OUTCOME_DEVICE : foreign && !r->options->mix ? OUTCOME_INPUT : OUTCOME_FINISHED;
}

static void mask_signals(struct runner *r)
{
    struct sigaction action = { .sa_handler = ask };
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGINT);
    sigprocmask(SIG_BLOCK, &both, &r->outside);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    asked = 0;
}

/* Runs that share a GPU only slow each other down. */
static bool uses_gpu(const struct study *s)
{
    bool any = false;
    for (int v = 0; v < s->n_variants; v++) any |= variant_backend(&s->variant[v]) == BACKEND_CUDA;
    return any;
}

enum outcome run_study(const struct study *s, const struct run_options *o)
{
    int cores = pool_cores();
    struct run_options quiet;
    struct runner runner = { .study = s, .options = o, .began = clock_seconds(), .terminal = terminal_obeys(2), .self = getpid() }, *r = &runner;
    r->jobs = o->jobs ? o->jobs : uses_gpu(s) ? 1 : o->threads ? cores / o->threads : cores;
    if (r->jobs > s->n_points) r->jobs = s->n_points;
    if (r->jobs < 1) r->jobs = 1;
    if (r->jobs > 256) r->jobs = 256;
    r->threads = o->threads ? o->threads : cores / r->jobs > 0 ? cores / r->jobs : 1;
    r->rank = o->rank;
    r->ranks = o->ranks;
    if (r->ranks > 1) r->jobs = 1;
    if (r->rank > 0) quiet = *o, quiet.show = SHOW_NOTHING, r->options = &quiet;
    enum outcome origins = check_origins(r);
    if (origins) return origins;
    r->job = xcalloc((size_t)r->jobs, sizeof *r->job);
    mask_signals(r);
    for (start_more(r); r->running; start_more(r)) {
        draw(r);
        watch(r);
    }
    erase(r);
    free(r->job);
    if (r->options->show != SHOW_NOTHING && r->options->show != SHOW_JSON) {
        char took[24];
        format_time(clock_seconds() - r->began, took);
        fprintf(stderr, "%s: %d finished, %d diverged, %d failed of %d runs in %s\n", s->name, r->finished, r->diverged, r->failed, s->n_points, took);
        if (r->ended < s->n_points || r->killed) fprintf(stderr, "%d runs are left: sluice resume %s goes on\n", s->n_points - r->ended + r->killed, s->dir);
    }
    sigprocmask(SIG_SETMASK, &r->outside, NULL);
    if (r->worst != OUTCOME_DISK && (asked || (r->stopping && r->worst == OUTCOME_FINISHED))) return OUTCOME_INTERRUPTED;
    return r->worst == OUTCOME_FINISHED && r->diverged && !r->finished ? OUTCOME_DIVERGED : r->worst;
}
