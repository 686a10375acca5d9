/* sluice watch: a study while it trains. */
#include "metric.h"
#include "status.h"
#include "base/terminal.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct option options[] = {
    { "once", 0, NULL, "print once and leave" },
    { "interval", 'n', "SECONDS", "time between two looks (default 2)" },
    { 0 }
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* What somebody who trains would still train. */
static int count_left(const struct runs *runs)
{
    static const int left[] = { STATUS_CREATED, STATUS_RUNNING, STATUS_PREEMPTED, CONDITION_PENDING, CONDITION_DEAD };
    int n = 0;
    for (int i = 0; i < COUNT(left); i++) n += status_count(runs, left[i]);
    return n;
}

static void say_untended(const struct runs *runs)
{
    char text[160];
    int left = count_left(runs);
    if (left == 0) return;
    status_summary(runs, text, sizeof text);
    fflush(stdout);
    fprintf(stderr, "%s: %s; nobody trains %s\n",
            runs->study ? runs->study->dir : runs->run[0].name, text,
            left == 1 ? "the run that is left" : "the runs that are left");
    if (runs->study) fprintf(stderr, "sluice resume %s goes on\n", runs->study->dir);
}

static void print_head(const struct runs *runs)
{
    char text[160];
    status_summary(runs, text, sizeof text);
    printf("%s%s%s  %s\n\n", cli_paint(stdout, PAINT_BOLD), runs->study ? runs->study->name : runs->run[0].name,
           cli_paint(stdout, PAINT_OFF), text);
}

/* The run of that name as it was at the look before; NULL: there was none. A study that grows moves its runs. */
static const struct run *earlier(const struct runs *before, const char *name, int at)
{
    if (!before) return NULL;
    if (at < before->n && !strcmp(before->run[at].name, name)) return &before->run[at];
    for (int i = 0; i < before->n; i++)
        if (!strcmp(before->run[i].name, name)) return &before->run[i];
    return NULL;
}

/* For output that is no terminal: one line for each change. */
static void print_changes(const struct runs *runs, const struct runs *before)
{
    for (int i = 0; i < runs->n; i++) {
        struct run *r = &runs->run[i];
        const struct run *was = earlier(before, r->name, i);
        char loss[FORMAT_SIZE], answer[FORMAT_SIZE], left[FORMAT_SIZE];
        run_look(r);
        if (was && was->condition == r->condition && was->step == r->step) continue;
        format_real(metric_last(r, "train.loss"), 4, loss);
        format_real(metric_last(r, status_primary(runs)), 4, answer);
        format_seconds(run_look(r) && r->condition == STATUS_RUNNING ? status_remaining(r) : NAN, left);
        printf("%s %s step %lld/%lld train.loss %s %s %s left %s\n", r->name, condition_name(r->condition),
               (long long)r->step, (long long)r->steps, loss, status_primary(runs), answer, left);
    }
    cli_flush();
}

static void rest(double seconds)
{
    struct timespec t = { (time_t)seconds, (long)(fmod(seconds, 1) * 1e9) };
    nanosleep(&t, NULL);
}

/* Who trains may be about to begin: only what two looks agree on is the end. */
static enum code watch(const char *path, double interval, bool once)
{
    bool terminal = terminal_obeys(STDOUT_FILENO), over = false;
    struct runs *runs = NULL, *before = NULL;
    struct err e;
    enum code code = CODE_OK;
    int untended = 0;
    while (!over && !stop) {
        if (runs_open(path, &runs, &e)) { code = cli_fail(CODE_INPUT, "%s", e.text); break; }
        if (terminal && !once) fputs("\033[H\033[2J", stdout);
        if (terminal || once) { print_head(runs); status_print(runs, stdout); cli_flush(); }
        else print_changes(runs, before);
        untended = runs_are_tended(runs) ? 0 : untended + 1;
        over = once || count_left(runs) == 0 || untended == 2;
        if (untended == 2) say_untended(runs);
        if (before) runs_close(before);
        before = runs;
        if (!over && !stop) rest(interval);
    }
    if (before && code == CODE_OK) code = status_unreadable(before);
    if (before) runs_close(before);
    return code;
}

static enum code run(const struct call *c)
{
    double interval = 2;
    if (cli_real(c, "interval", 0.1, 3600, &interval)) return CODE_USAGE;
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return watch(c->word[0], interval, cli_flag(c, "once"));
}

const struct command command_watch = {
    .name = "watch", .about = "follow a study or a run while it trains", .usage = "PATH",
    .example = "sluice watch runs/quickstart\nsluice watch runs/quickstart --once", .options = options, .least = 1,
    .most = 1, .run = run,
    .more = "On a terminal the table is redrawn; otherwise a line is printed for each run that changed. Ends when no "
            "run is left, or\nwhen nobody trains those that are: it says which, and how to go on.",
};
