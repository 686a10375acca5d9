/* A run once more: the command that makes it, in a process of its own, and then both run files side by side. */
#define _GNU_SOURCE
#include "retrain.h"
#include "train/train.h"
#include "twin.h"
#include "base/text.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the process ---- */

static volatile pid_t trainer;
static void pass_on(int number) { if (trainer > 0) kill(trainer, number); }

_Noreturn static void become(char **argv, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(OUTCOME_INTERRUPTED);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execv("/proc/self/exe", argv);
    _exit(CODE_FAILURE);
}

/* The very command that is printed, by this program. Signals end it first, so that what it wrote can be removed. */
static enum code train_anew(json_t *words)
{
    const int heard[] = { SIGINT, SIGTERM, SIGHUP };
    const pid_t self = getpid();
    size_t n = json_array_size(words);
    char **argv = xcalloc(n + 1, sizeof *argv);
    int status;
    for (size_t i = 0; i < n; i++) argv[i] = xstrdup(json_string_value(json_array_get(words, i)));
    fflush(NULL);
    pid_t pid = trainer = fork();
    if (pid == 0) become(argv, self);
    for (int i = 0; i < COUNT(heard); i++) signal(heard[i], pass_on);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) { }
    for (size_t i = 0; i < n; i++) free(argv[i]);
    free(argv);
    if (pid < 0) return cli_fail(CODE_FAILURE, "the run cannot be started: %s", strerror(errno));
    return WIFEXITED(status) ? (enum code)WEXITSTATUS(status) : CODE_FAILURE;
}

/* ---- what is the same, and what is not ---- */

/* Bits are promised within one program, instruction set and backend. */
static void say_origin(const struct record *r)
{
    struct origin here;
    struct err e;
    int rank;
    struct mesh mesh = { { 0 } };
    if (comm_look(&rank, &mesh.size[AXIS_DP], &e) ||
        origin_here(&here, strcmp(r->backend, "cuda") == 0 ? BACKEND_CUDA : BACKEND_CPU, &mesh, &e)) {
        fprintf(stderr, "note: %s\n", e.text);
        return;
    }
    if (strcmp(here.revision, r->revision) != 0)
        fprintf(stderr, "note: it was computed by revision %s, this is %s; bits may differ\n", r->revision,
                here.revision);
    if (strcmp(here.isa, r->isa) != 0)
        fprintf(stderr, "note: it was computed with %s, here it is %s; bits may differ, unless SLUICE_ISA=... or "
                "mpirun -np ... makes them one\n", r->isa, here.isa);
}

static void say_condition(const struct run *was)
{
    if (was->condition == STATUS_FINISHED || was->condition == STATUS_DIVERGED) return;
    fprintf(stderr, "note: it is %s at step %lld of %lld: what it has is compared with a whole run\n",
            condition_name(was->condition), (long long)was->step, (long long)was->steps);
}

/* The first key at which two configurations part. */
static bool part(const json_t *a, const json_t *b, char path[512])
{
    const char *key;
    json_t *value;
    size_t n = strlen(path);
    if (json_equal(a, b)) return false;
    json_object_foreach((json_t *)(uintptr_t)a, key, value) {
        snprintf(path + n, 512 - n, "%s%s", n ? "." : "", key);
        if (part(value, json_object_get(b, key), path)) return true;
        path[n] = 0;
    }
    return true;
}

static bool say_part(struct reader *before, struct reader *now)
{
    char path[512] = "";
    json_t *a = json_loads(reader_config(before), 0, NULL), *b = json_loads(reader_config(now), 0, NULL);
    bool other = part(a, b, path);
    json_decref(a);
    json_decref(b);
    if (other) printf("differs: the configuration at %s: this program reads the script otherwise\n", path);
    return other;
}

static enum code compare_files(const struct run *was, struct reader *before, const struct run *is, struct reader *now)
{
    struct twin t;
    struct err e;
    bool other = say_part(before, now);
    if (twin_compare(before, now, &t, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (t.bad || other) return cli_fail(CODE_MISMATCH, "%s is not what its script makes here", was->path);
    if (was->step > is->step)
        fprintf(stderr, "note: it has %lld steps, the new run ended after %lld: what both have was compared\n",
                (long long)was->step, (long long)is->step);
    printf("equal, bit for bit: %d metrics in %lld + %lld rows, the state at %d checkpoints\n", t.series,
           (long long)t.rows[STORE_TRAIN], (long long)t.rows[STORE_EVAL], t.states);
    return CODE_OK;
}

static enum code compare_run(struct run *was, const char *study)
{
    struct runs *runs;
    struct err e;
    struct run *is = NULL;
    if (runs_open(study, &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    for (int i = 0; i < runs->n && !is; i++) if (run_look(&runs->run[i])) is = &runs->run[i];
    struct reader *before = run_reader(was), *now = is ? run_reader(is) : NULL;
    enum code code = before && now ? compare_files(was, before, is, now)
                                   : cli_fail(CODE_INPUT, "%s: nothing was trained that can be read", study);
    runs_close(runs);
    return code;
}

/* ---- both ---- */

enum code retrain_in(const char *folder, struct run *was, const struct record *r, const char *data)
{
    char *out = text_new("%s/runs", folder), *study = text_new("%s/%s", out, r->study);
    say_origin(r);
    say_condition(was);
    json_t *words = record_command(r, true, folder, data, out);
    if (!isatty(STDERR_FILENO)) {
        json_array_append_new(words, json_string("--progress"));
        json_array_append_new(words, json_string("none"));
    }
    enum code code = train_anew(words);
    bool ended = code == CODE_OK || (code == CODE_DIVERGED && was->condition == STATUS_DIVERGED);
    code = ended ? compare_run(was, study) : cli_fail(code, "training anew left with code %d", (int)code);
    json_decref(words);
    free(out);
    free(study);
    return code;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status; (void)kind; (void)walk;
    return remove(path);
}

enum code retrain_aside(struct run *was, const struct record *r, const char *data)
{
    const char *parent = getenv("TMPDIR");
    char folder[PATH_MAX];
    struct err e;
    snprintf(folder, sizeof folder, "%s/sluice-reproduce-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(folder)) return cli_fail(CODE_FAILURE, "%s: %s", folder, strerror(errno));
    enum code code = record_write(r, folder, &e) ? cli_fail(CODE_FAILURE, "%s", e.text)
                                                 : retrain_in(folder, was, r, data);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}
