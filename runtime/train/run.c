/* The pool of runs: forks, watches, stops. */
#define _GNU_SOURCE
#include "run_private.h"
#include "trunk.h"
#include "cpu/pool.h"
#include "base/process.h"
#include "base/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_JOBS = 256, LOOK_MS = 500, LOOK_ELSEWHERE_MS = 200 };
static const double debounce = 0.5;                            /* seconds: a second Ctrl-C, not an echo of the first */

static volatile sig_atomic_t asked, insisted;               /* the first signal; SIGINT or SIGQUIT since a look */
static void ask(int signal)
{
    if (!asked) asked = signal;
    else if (signal == SIGINT || signal == SIGQUIT) insisted = 1;
}

/* ---- ranks ---- */

/* What ranks have in common: else their sums would be nobody's numbers. */
struct common { struct origin origin; struct hash study; };

static struct common common_here(const struct study *s)
{
    struct common c = { { "", "" }, { 0, 0 } };
    struct err e;
    for (int p = 0; p < s->n_points; p++) {
        const struct variant *v = &s->variant[s->point[p].variant];
        c.study = hash_more(hash_more(c.study, &v->hash, sizeof v->hash), &s->point[p].seed, sizeof s->point[p].seed);
        struct mesh mesh;
        if (variant_mesh(v, comm_here()->ranks, &mesh, &e) || origin_here(&c.origin, variant_backend(v), &mesh, &e))
            c.origin = (struct origin){ "", "" };
    }
    return c;
}

static bool is_like_rank_0(const struct runner *r, struct common here)
{
    struct common first = here;
    char study[33], its[33];
    comm_here()->broadcast(&first, sizeof first, 0, OVER_ALL);
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
    struct common here = common_here(r->study);             /* asks in a process of its own: CUDA bears no fork */
    if (comm_join(&e)) {
        fprintf(stderr, "sluice: %s\n", e.text);
        _exit(OUTCOME_DEVICE);
    }
    if (!is_like_rank_0(r, here)) exit(OUTCOME_INPUT);
    if (!r->options->threads) o->threads = cores_among(comm_here()->locals);
    if (r->rank > 0)
        for (struct order next; worst == OUTCOME_FINISHED && (next = comm_follow()).kind == ORDER_POINT; )
            worst = train_follow(r->study, (int)next.value, o);
    for (int p = 0; r->rank == 0 && p < r->study->n_points && worst == OUTCOME_FINISHED; p++) {
        comm_order(ORDER_POINT, p);
        struct progress end = { .ended = true, .outcome = train_point(r->study, p, o), .point = p };
        bool result = end.outcome == OUTCOME_FINISHED || end.outcome == OUTCOME_DIVERGED;
        if (!result && end.outcome != OUTCOME_ELSEWHERE) worst = end.outcome;
        if (write(o->watcher, &end, sizeof end) != (ssize_t)sizeof end) worst = OUTCOME_INTERRUPTED;
    }
    if (r->rank == 0) comm_order(ORDER_END, 0);
    else if (worst != OUTCOME_FINISHED) exit((int)worst);   /* the others cannot go on */
    comm_leave();
    _exit((int)worst);
}

/* ---- jobs ---- */

_Noreturn static void child(const struct runner *r, int point, int to)
{
    for (int i = 0; i < r->jobs; i++) if (r->job[i].pid) close(r->job[i].pipe);
    struct train_options o = { r->threads, to, r->options->retry_failed, r->options->mix };
    if (r->ranks > 1) all_points(r, &o);
    enum outcome outcome = train_point(r->study, point, &o);
    _exit((int)outcome);
}

static struct progress nothing_yet(int point)
{
    return (struct progress){ .point = point, .status = STATUS_RUNNING, .loss = NAN, .eval_loss = NAN };
}

static void launch(struct runner *r, struct job *j, int point)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "sluice: no pipe to watch a run: %s\n", strerror(errno));
        exit(1);
    }
    pid_t pid = process_fork(SIGTERM);
    if (pid < 0) {
        fprintf(stderr, "sluice: a run cannot be started: %s\n", strerror(errno));
        exit(1);
    }
    if (pid == 0) {
        close(ends[0]);
        child(r, point, ends[1]);
    }
    close(ends[1]);
    *j = (struct job){ pid, ends[0], point, nothing_yet(point), clock_seconds(), false };
    for (int p = 0; p < r->study->n_points; p++) if (p == point || r->ranks > 1) r->state[p] = POINT_HERE;
    r->running++;
}

static void stop_all(struct runner *r, int signal)
{
    r->stopping = true;
    for (int i = 0; i < r->jobs; i++) if (r->job[i].pid) kill(r->job[i].pid, signal);
}

static void take_worst(struct runner *r, enum outcome outcome)
{
    bool worse = outcome != OUTCOME_FINISHED && outcome != OUTCOME_DIVERGED && outcome != OUTCOME_INTERRUPTED;
    if (worse && r->worst == OUTCOME_FINISHED) r->worst = outcome;
    if (outcome == OUTCOME_INTERRUPTED) r->stopping = true;
    if (outcome == OUTCOME_DISK) {                          /* the others would only fill it again */
        r->stopping = true;
        r->worst = OUTCOME_DISK;
    }
}

/* Another process was faster, or is at it. */
static void leave_to_others(struct runner *r, struct job *j)
{
    j->settled = true;
    if (r->ranks == 1) { r->state[j->point] = POINT_LEFT; return; }
    r->state[j->point] = POINT_OVER;
    r->refused++;
    run_show_end(r, j, OUTCOME_ELSEWHERE, 0);
}

static void settle(struct runner *r, struct job *j, enum outcome outcome, int killed_by)
{
    if (outcome == OUTCOME_ELSEWHERE) { leave_to_others(r, j); return; }
    bool result = outcome == OUTCOME_FINISHED || outcome == OUTCOME_DIVERGED;
    bool by_another = result && j->last.step == j->last.first && !r->over_before[j->point];
    bool lost = killed_by && outcome != OUTCOME_INTERRUPTED;
    r->state[j->point] = lost && r->ranks == 1 ? POINT_KILLED : POINT_OVER;
    r->seconds_of_work += j->last.seconds;
    r->tokens_of_work += j->last.tokens;
    r->steps_of_work += j->last.step - j->last.first;
    r->taken += j->last.taken;
    r->ended += outcome != OUTCOME_INTERRUPTED;
    r->finished += outcome == OUTCOME_FINISHED;
    r->diverged += outcome == OUTCOME_DIVERGED;
    r->killed += lost;
    r->failed += outcome != OUTCOME_FINISHED && outcome != OUTCOME_DIVERGED && outcome != OUTCOME_INTERRUPTED;
    j->settled = true;
    if (!lost) take_worst(r, outcome);
    run_show_end(r, j, outcome, killed_by);
    enum outcome other = by_another ? run_check_other(r, j->point) : OUTCOME_FINISHED;
    take_worst(r, other);
    if (other) stop_all(r, SIGTERM);
}

static void collect(struct runner *r, struct job *j)
{
    int status;
    char signal[16];
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR) { }
    int killed_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    close(j->pipe);
    j->pid = 0;
    r->running--;
    if (killed_by && r->rank > 0)
        fprintf(stderr, "sluice: rank %d of %d was killed by %s\n", r->rank, r->ranks,
                process_signal(killed_by, signal));
    enum outcome lost = r->at_once ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
    if (!j->settled) settle(r, j, killed_by ? lost : (enum outcome)WEXITSTATUS(status), killed_by);
}

/* A process that trains several points goes on with the next. */
static void go_on(struct job *j, int point)
{
    if (!j->settled) return;
    j->settled = false;
    j->point = point;
    j->last = nothing_yet(point);
    j->began = clock_seconds();
}

/* False: the run closed its end, which it does only by ending. */
static bool listen_to(struct runner *r, struct job *j)
{
    struct progress p;
    ssize_t n = read(j->pipe, &p, sizeof p);
    if (n < 0 && errno == EINTR) return true;
    if (n != (ssize_t)sizeof p) return false;
    go_on(j, p.point);
    if (p.ended) { settle(r, j, p.outcome, 0); return true; }
    j->last = p;
    run_show_step(r, &p);
    return true;
}

/* Runs that would not fit into a device's memory together are not started together; one that does not fit alone says so
   itself. */
static bool fits(struct runner *r, int point)
{
    struct err e;
    enum backend_kind kind = run_backend(r, point);
    const struct backend *b = backend_find(kind, &e);
    size_t need = r->study->variant[r->study->point[point].variant].memory_bytes + b->process_bytes;
    int running = 0;
    for (int i = 0; i < r->jobs; i++) {
        if (!r->job[i].pid || run_backend(r, r->job[i].point) != kind) continue;
        need += r->study->variant[r->study->point[r->job[i].point].variant].memory_bytes + b->process_bytes;
        running++;
    }
    if (running == 0 && (r->jobs == 1 || b->probe_room(&r->room[kind], &e))) r->room[kind] = 0;
    return running == 0 || need < r->room[kind];
}

static bool goes_on(const struct runner *r, int point)
{
    return point >= 0 && (r->state[point] == POINT_LEFT || r->state[point] == POINT_HERE);
}

/* Whether another run is to come to where this one begins first. One that is over, or lost, will not. */
static bool waits(const struct runner *r, int point)
{
    const struct point *p = &r->study->point[point];
    bool comes = (p->shared > 0 && goes_on(r, p->trunk)) || goes_on(r, p->start);
    return comes && !r->over_before[point] && !trunk_is_there(r->study, point);
}

/* The first point that nobody trains and that need not wait, or -1. Ranks, which go through all of them in one process,
   do not look. */
static int next_point(struct runner *r)
{
    r->elsewhere = 0;
    for (int p = 0; p < r->study->n_points; p++) {
        if (r->state[p] != POINT_LEFT || (r->ranks == 1 && waits(r, p))) continue;
        if (r->ranks > 1 || !run_is_elsewhere(r, p)) return p;
        r->elsewhere++;
    }
    return -1;
}

/* Runs that were killed here, and that another process took over, are not lost. False: there is none. */
static bool look_at_killed(struct runner *r)
{
    bool found = false;
    usleep(2 * 1000 * LOOK_ELSEWHERE_MS);                   /* others may have been waiting for them */
    for (int p = 0; p < r->study->n_points; p++) {
        if (r->state[p] != POINT_KILLED || !(run_is_elsewhere(r, p) || run_is_over(r, p))) continue;
        r->state[p] = POINT_LEFT;
        r->killed--;
        r->failed--;
        r->ended--;
        found = true;
    }
    return found;
}

static void start_more(struct runner *r)
{
    for (int i = 0; i < r->jobs && !r->stopping; i++) {
        int point = r->job[i].pid ? -1 : next_point(r);
        if (point >= 0 && fits(r, point)) launch(r, &r->job[i], point);
    }
    bool ends = !r->running && !r->elsewhere && !r->stopping;
    if (ends && r->killed && look_at_killed(r)) start_more(r);
}

/* A signal stops all runs, each with a checkpoint; Ctrl-C once more does not wait for these. */
static void heed_signals(struct runner *r)
{
    bool more = insisted && clock_seconds() - r->stopped > debounce;
    insisted = 0;
    if (more && r->stopped_by) {
        r->at_once = true;
        stop_all(r, SIGKILL);
    }
    if (!asked || r->stopped_by) return;
    r->stopped_by = asked;
    r->stopped = clock_seconds();
    stop_all(r, asked);
}

/* Runs whose study's folder was taken away would fail one after the other: it is said here, once for all. */
static void look_at_folder(struct runner *r)
{
    if (r->gone || r->rank > 0 || access(r->study->dir, F_OK) == 0 || errno != ENOENT) return;
    r->gone = true;
    run_show_gone(r);
    take_worst(r, OUTCOME_FAILED);
    stop_all(r, SIGTERM);
}

static void watch(struct runner *r)
{
    struct pollfd fds[MOST_JOBS];
    int of[MOST_JOBS], n = 0;
    for (int i = 0; i < r->jobs; i++)
        if (r->job[i].pid) { of[n] = i; fds[n++] = (struct pollfd){ r->job[i].pipe, POLLIN, 0 }; }
    struct timespec pause = { .tv_nsec = 1000 * 1000 * (r->elsewhere ? LOOK_ELSEWHERE_MS : LOOK_MS) };
    int ready = ppoll(fds, (nfds_t)n, &pause, &r->outside);
    heed_signals(r);
    look_at_folder(r);
    for (int i = 0; ready > 0 && i < n; i++)
        if (fds[i].revents && !listen_to(r, &r->job[of[i]])) collect(r, &r->job[of[i]]);
}

/* ---- the study ---- */

static void mask_signals(struct runner *r)
{
    sigset_t heard = process_hear(ask);
    sigprocmask(SIG_BLOCK, &heard, &r->outside);
    signal(SIGPIPE, SIG_IGN);                               /* that nobody reads the progress is no reason to stop */
    asked = insisted = 0;
}

/* Runs that share a GPU only slow each other down. */
static double *step_tokens(const struct study *s)           /* malloc'd */
{
    double *tokens = xcalloc((size_t)s->n_variants, sizeof *tokens);
    for (int v = 0; v < s->n_variants; v++) {
        int64_t steps = config_integer(s->variant[v].config, "train.steps");
        tokens[v] = (double)variant_tokens(&s->variant[v]) / (double)steps;
    }
    return tokens;
}

static void divide_cores(struct runner *r)
{
    const struct run_options *o = r->options;
    int cores = pool_cores();
    r->jobs = o->jobs ? o->jobs : study_uses_gpu(r->study) ? 1 : o->threads ? cores / o->threads : cores;
    if (r->jobs > r->study->n_points) r->jobs = r->study->n_points;
    if (r->jobs < 1) r->jobs = 1;
    if (r->jobs > MOST_JOBS) r->jobs = MOST_JOBS;
    r->threads = o->threads ? o->threads : cores / r->jobs > 0 ? cores / r->jobs : 1;
    if (r->ranks > 1) r->jobs = 1;
}

static enum outcome train_all(struct runner *r)
{
    r->job = xcalloc((size_t)r->jobs, sizeof *r->job);
    mask_signals(r);
    for (start_more(r); r->running || (r->elsewhere && !r->stopping); start_more(r)) {
        run_show(r);
        watch(r);
    }
    if (r->killed) take_worst(r, OUTCOME_FAILED);
    enum outcome code = r->worst == OUTCOME_FINISHED && r->diverged && !r->finished ? OUTCOME_DIVERGED : r->worst;
    bool cut_off = r->stopped_by || (r->worst == OUTCOME_FINISHED && (r->stopping || r->refused));
    if (cut_off && r->worst != OUTCOME_DISK) code = OUTCOME_INTERRUPTED;
    run_show_study(r, code);
    sigprocmask(SIG_SETMASK, &r->outside, NULL);
    free(r->job);
    return code;
}

enum outcome run_study(const struct study *s, const struct run_options *o)
{
    struct runner runner = { .study = s, .options = o, .rank = o->rank, .ranks = o->ranks }, *r = &runner;
    int joined = o->rank == 0 ? process_join(s->dir) : -1;  /* who watches the study knows by it that somebody trains */
    r->began = clock_seconds();
    r->terminal = terminal_obeys(STDERR_FILENO);
    if (joined < 0 && o->rank == 0) {
        fprintf(stderr, "sluice: %s: %s\n", s->dir, strerror(errno));
        return OUTCOME_FAILED;
    }
    divide_cores(r);
    r->state = xcalloc((size_t)s->n_points + 1, sizeof *r->state);
    r->over_before = xcalloc((size_t)s->n_points + 1, sizeof *r->over_before);
    r->mesh = xcalloc((size_t)s->n_variants + 1, sizeof *r->mesh);
    r->step_tokens = step_tokens(s);
    enum outcome outcome = run_check(r);
    if (outcome) run_show_refusal(r, outcome);
    else outcome = train_all(r);
    free(r->step_tokens);
    free(r->mesh);
    free(r->over_before);
    free(r->state);
    if (joined >= 0) close(joined);
    return outcome;
}
