/* What a pool of runs says of itself on stderr. That nobody reads it any more stops nothing. */
#define _GNU_SOURCE
#include "run_private.h"
#include "base/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

const char *run_name(const struct runner *r, int point, char out[128])
{
    const struct point *p = &r->study->point[point];
    snprintf(out, 128, "%s/%d", r->study->variant[p->variant].name, p->replicate);
    return out;
}

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
    return config_integer(r->study->variant[r->study->point[point].variant].config, "train.steps");
}

/* Runs that resume would go on with. */
static int left_of(const struct runner *r) { return r->study->n_points - r->ended + r->killed; }

/* That so many steps have in the mean. */
static double tokens_of(const struct runner *r, int point, int64_t steps)
{
    return r->step_tokens[r->study->point[point].variant] * (double)steps;
}

/* Work left over work done, from what tokens took in this session. */
static double time_left(const struct runner *r)
{
    double seconds = r->seconds_of_work, left = 0;
    int64_t tokens = r->tokens_of_work;
    for (int p = 0; p < r->study->n_points; p++)
        if (r->state[p] != POINT_OVER) left += tokens_of(r, p, steps_of(r, p) - r->study->point[p].shared);
    for (int i = 0; i < r->jobs; i++) {
        const struct job *j = &r->job[i];
        if (!j->pid || j->settled) continue;
        seconds += j->last.seconds;
        tokens += j->last.tokens;
        left -= (double)j->last.seen - tokens_of(r, j->point, j->last.taken);
    }
    return tokens ? left * seconds / (double)tokens / r->jobs : NAN;
}

static void erase(struct runner *r)
{
    if (r->lines) fprintf(stderr, "\033[%dA\033[J", r->lines);
    r->lines = 0;
}

/* ---- JSON ---- */

static void set_signal(json_t *j, int number)
{
    char name[16];
    if (number) json_object_set_new(j, "signal", json_string(process_signal(number, name)));
}

static void print_json(json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(j);
}

static json_t *run_json(const struct runner *r, const char *event, const struct progress *p)
{
    const struct point *point = &r->study->point[p->point];
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:I, s:I, s:i, s:i}", "event", event, "study", r->study->name,
                          "variant", r->study->variant[point->variant].name, "replicate", point->replicate,
                          "status", status_name[p->status], "step", (json_int_t)p->step,
                          "steps", (json_int_t)steps_of(r, p->point), "runs_done", r->ended,
                          "runs", r->study->n_points);
    double left = time_left(r);
    if (isfinite(p->loss)) json_object_set_new(j, "loss", json_real(p->loss));
    if (isfinite(p->eval_loss)) json_object_set_new(j, "eval_loss", json_real(p->eval_loss));
    if (isfinite(left)) json_object_set_new(j, "seconds_left", json_real(left));
    return j;
}

static const char *outcome_word(enum outcome outcome, int killed_by)
{
    if (killed_by) return "killed";
    return outcome == OUTCOME_FINISHED ? "finished" : outcome == OUTCOME_DIVERGED ? "diverged"
         : outcome == OUTCOME_INTERRUPTED ? "stopped" : "failed";
}

static void print_end_json(const struct runner *r, const struct progress *p, enum outcome outcome, int killed_by)
{
    json_t *j = run_json(r, "end", p);
    json_object_set_new(j, "outcome", json_string(outcome_word(outcome, killed_by)));
    json_object_set_new(j, "code", json_integer(outcome));
    if (killed_by) json_object_set_new(j, "status", json_string("dead"));
    set_signal(j, killed_by ? killed_by : p->signal);
    print_json(j);
}

static void print_study_json(const struct runner *r, enum outcome code)
{
    json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i}", "event", "study",
                          "study", r->study->name, "steps_trained", (json_int_t)r->steps_of_work,
                          "steps_taken", (json_int_t)r->taken,
                          "finished", r->finished, "diverged", r->diverged, "failed", r->failed,
                          "left", left_of(r), "runs", r->study->n_points, "code", (int)code);
    set_signal(j, r->stopped_by);
    print_json(j);
}

/* ---- lines ---- */

static void draw_run(struct runner *r, const struct job *j, int width)
{
    char line[512], name[128], left[24], loss[24], eval[24];
    const struct progress *p = &j->last;
    double token_seconds = p->tokens > 0 ? p->seconds / (double)p->tokens : NAN;
    format_time((tokens_of(r, j->point, steps_of(r, j->point)) - (double)p->seen) * token_seconds, left);
    snprintf(line, sizeof line, "  %s  step %lld/%lld  loss %s  eval %s  %.0f tok/s  %s left",
             run_name(r, j->point, name), (long long)p->step, (long long)steps_of(r, j->point),
             format_loss(p->loss, loss), format_loss(p->eval_loss, eval),
             p->seconds > 0 ? (double)p->tokens / p->seconds : 0, left);
    fprintf(stderr, "%.*s\n", width - 1, line);
    r->lines++;
}

static const char *plural(int n) { return n == 1 ? "run" : "runs"; }

/* All that are left are trained elsewhere: their names, the first few of them. */
static void print_elsewhere(const struct runner *r)
{
    enum { NAMED = 4 };
    char name[128];
    int n = 0;
    fprintf(stderr, "%s: waiting for %d %s elsewhere: ", r->study->name, r->elsewhere, plural(r->elsewhere));
    for (int p = 0; p < r->study->n_points && n < NAMED; p++)
        if (r->state[p] == POINT_LEFT) fprintf(stderr, "%s%s", n++ ? ", " : "", run_name(r, p, name));
    fprintf(stderr, "%s (Ctrl-C leaves them to the process that trains them)\n", r->elsewhere > n ? ", ..." : "");
}

/* Said once, and again when their number changes. */
static void say_elsewhere(struct runner *r)
{
    bool news = !r->running && r->elsewhere != r->elsewhere_said;
    if (!news || r->rank > 0) return;
    r->elsewhere_said = r->elsewhere;
    if (!r->elsewhere || r->options->show == SHOW_NOTHING) return;
    if (r->options->show == SHOW_JSON)
        print_json(json_pack("{s:s, s:s, s:i}", "event", "wait", "study", r->study->name, "elsewhere", r->elsewhere));
    else if (!r->terminal || r->options->show == SHOW_LINES) print_elsewhere(r);
}

void run_show(struct runner *r)
{
    char left[24];
    struct winsize size = { 0 };
    say_elsewhere(r);
    if (!r->terminal || r->options->show != SHOW_AUTO || r->rank > 0) return;
    int width = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    erase(r);
    for (int i = 0; i < r->jobs; i++) if (r->job[i].pid) draw_run(r, &r->job[i], width);
    format_time(time_left(r), left);
    fprintf(stderr, "%s: %d of %d runs done, ", r->study->name, r->ended, r->study->n_points);
    if (r->elsewhere) fprintf(stderr, "%d %s elsewhere\n", r->elsewhere, r->elsewhere == 1 ? "is" : "are");
    else fprintf(stderr, "%s left\n", left);
    r->lines++;
}

void run_show_step(struct runner *r, const struct progress *p)
{
    if (r->options->show == SHOW_JSON && r->rank == 0) print_json(run_json(r, "step", p));
}

void run_show_end(struct runner *r, const struct job *j, enum outcome outcome, int killed_by)
{
    const struct progress *p = &j->last;
    char took[24], left[24], name[128], signal[16], eval[24];
    bool idle = p->step == p->first && p->taken == 0 && outcome == OUTCOME_FINISHED;
    if (r->rank > 0 || (r->options->show == SHOW_NOTHING && outcome == OUTCOME_FINISHED)) return;
    if (r->options->show == SHOW_JSON) { print_end_json(r, p, outcome, killed_by); return; }
    erase(r);
    format_time(clock_seconds() - j->began, took);
    format_time(time_left(r), left);
    fprintf(stderr, "[%*d/%d] %s ", r->study->n_points > 9 ? 2 : 1, r->ended, r->study->n_points,
            run_name(r, j->point, name));
    long long step = (long long)p->step;
    if (killed_by) fprintf(stderr, "was killed by %s at step %lld", process_signal(killed_by, signal), step);
    else if (idle) fprintf(stderr, r->over_before[j->point] ? "was finished before\n" : "was finished elsewhere\n");
    else if (outcome == OUTCOME_FINISHED) fprintf(stderr, "finished: eval loss %s", format_loss(p->eval_loss, eval));
    else if (outcome == OUTCOME_DIVERGED) fprintf(stderr, "diverged at step %lld", step);
    else if (outcome == OUTCOME_ELSEWHERE)
        fputs("is trained by another process, for which ranks do not wait\n", stderr);
    else if (outcome != OUTCOME_INTERRUPTED) fprintf(stderr, "failed at step %lld (code %d)", step, (int)outcome);
    else if (p->signal) fprintf(stderr, "stopped by %s at step %lld", process_signal(p->signal, signal), step);
    else fprintf(stderr, "stopped at step %lld", step);
    if (outcome == OUTCOME_INTERRUPTED) fprintf(stderr, ", %s\n", took);
    else if (!idle && outcome != OUTCOME_ELSEWHERE) fprintf(stderr, ", %s; %s left\n", took, left);
}

void run_show_refusal(struct runner *r, enum outcome code)
{
    for (int p = 0; p < r->study->n_points; p++) r->ended += r->over_before[p];
    if (r->options->show == SHOW_JSON && r->rank == 0) print_study_json(r, code);
}

void run_show_gone(struct runner *r)
{
    erase(r);
    fprintf(stderr, "sluice: %s is gone: it was removed or renamed while its runs were trained\n", r->study->dir);
}

void run_show_study(struct runner *r, enum outcome code)
{
    char took[24], signal[16];
    int left = left_of(r);
    erase(r);
    if (r->rank > 0 || (r->options->show == SHOW_NOTHING && code == OUTCOME_FINISHED)) return;
    if (r->options->show == SHOW_JSON) { print_study_json(r, code); return; }
    format_time(clock_seconds() - r->began, took);
    fprintf(stderr, "%s: %d finished, %d diverged, %d failed of %d runs in %s", r->study->name, r->finished,
            r->diverged, r->failed, r->study->n_points, took);
    if (r->stopped_by) fprintf(stderr, ", stopped by %s", process_signal(r->stopped_by, signal));
    fputs(r->at_once ? ", at once\n" : "\n", stderr);
    if (r->taken)
        fprintf(stderr, "trained %lld of %lld steps: runs that begin alike share their trunk\n",
                (long long)r->steps_of_work, (long long)(r->steps_of_work + r->taken));
    const char *goes_on = left == 1 ? "run is" : "runs are";
    if (left && !r->gone) fprintf(stderr, "%d %s left: sluice resume %s goes on\n", left, goes_on, r->study->dir);
}
