/* sluice reproduce: the command and the files that make a run, and whether they still do. */
#define _GNU_SOURCE
#include "record.h"
#include "twin.h"
#include "train.h"

#include <ctype.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct option options[] = {
    { "output", 'o', "DIR", "write the script and what it required into this folder, with the command" },
    { "check", 0, NULL, "train the run anew and compare every value and the state, bit for bit" },
    { "data", 'd', "FILE", "where the data lies now; it must be the same, by its hash" },
    { "trust", 0, NULL, "check a run whose script was given the whole of Lua" },
    { 0 }
};

/* ---- the data ---- */

/* The path that was recorded, or --data, when it holds what the run was trained on. */
static const char *find_data(const struct call *c, const struct record *r, enum code *code)
{
    const char *path = cli_value(c, "data", r->data);
    struct corpus *corpus;
    struct err e;
    char hash[33];
    if (corpus_open(&corpus, path, &e)) {
        *code = cli_fail(CODE_INPUT, "data: %s\n  the run was trained on data with the hash %s; --data FILE says where it lies now", e.text, r->data_hash);
        return NULL;
    }
    hash_print(corpus_info(corpus)->hash, hash);
    corpus_close(corpus);
    if (strcmp(hash, r->data_hash) == 0) return path;
    *code = cli_fail(CODE_INPUT, "%s: is other data (hash %s) than the run was trained on (%s); --data FILE says where that lies now", path, hash, r->data_hash);
    return NULL;
}

/* ---- the files ---- */

static int write_readme(const struct record *r, const char *folder, const char *command, struct err *e)
{
    char *path;
    INVARIANT(asprintf(&path, "%s/README", folder) >= 0, "no memory for a path");
    FILE *f = fopen(path, "wx");
    bool good = f && fprintf(f, "Run %s/%s of the study %s, seed %s. Revision %s, %s, backend %s; data with the hash %s.\n\n%s\n", r->variant, r->replicate, r->study, r->seed,
                             r->revision, r->isa, r->backend, r->data_hash, command) > 0;
    if (f && fclose(f) != 0) good = false;
    int failure = good ? 0 : err_set(e, "%s: cannot be written: %s", path, strerror(errno));
    free(path);
    return failure;
}

/* ---- training anew ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status; (void)kind; (void)walk;
    return remove(path);
}

static volatile pid_t trainer;
static void pass_on(int number) { if (trainer > 0) kill(trainer, number); }

/* The very command that is printed, by this program. Signals end it first, so that what it wrote aside can be removed. */
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
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != self) _exit(OUTCOME_INTERRUPTED);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    for (int i = 0; i < COUNT(heard); i++) signal(heard[i], pass_on);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) { }
    for (size_t i = 0; i < n; i++) free(argv[i]);
    free(argv);
    if (pid < 0) return cli_fail(CODE_FAILURE, "the run cannot be started: %s", strerror(errno));
    return WIFEXITED(status) ? (enum code)WEXITSTATUS(status) : CODE_FAILURE;
}

/* Bits are promised within one program, instruction set and backend. */
static void say_origin(const struct record *r)
{
    struct origin here;
    struct err e;
    if (origin_here(&here, strcmp(r->backend, "cuda") == 0 ? BACKEND_CUDA : BACKEND_CPU, &e)) {
        fprintf(stderr, "note: %s\n", e.text);
        return;
    }
    if (strcmp(here.revision, r->revision) != 0) fprintf(stderr, "note: it was computed by revision %s, this is %s; bits may differ\n", r->revision, here.revision);
    if (strcmp(here.isa, r->isa) != 0)
        fprintf(stderr, "note: it was computed with %s, here it is %s; bits may differ, unless SLUICE_ISA=... or mpirun -np ... makes them one\n", r->isa, here.isa);
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

static enum code compare_files(const struct run *was, struct reader *before, const struct run *is, struct reader *now)
{
    struct twin t;
    struct err e;
    char path[512] = "";
    json_t *a = json_loads(reader_config(before), 0, NULL), *b = json_loads(reader_config(now), 0, NULL);
    bool other = part(a, b, path);
    json_decref(a);
    json_decref(b);
    if (other) printf("differs: the configuration at %s: this program reads the script otherwise\n", *path ? path : "its keys");
    if (twin_compare(before, now, &t, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    if (t.bad || other) return cli_fail(CODE_MISMATCH, "%s is not what its script makes here", was->path);
    if (was->step > is->step)
        fprintf(stderr, "note: it has %lld steps, the new run ended after %lld: what both have was compared\n", (long long)was->step, (long long)is->step);
    printf("equal, bit for bit: %d metrics in %lld + %lld rows, the state at %d checkpoints\n", t.series, (long long)t.rows[STORE_TRAIN], (long long)t.rows[STORE_EVAL], t.states);
    return CODE_OK;
}

/* What was trained anew in folder/runs: one run. */
static enum code compare_run(struct run *was, const struct record *r, const char *folder)
{
    char study[PATH_MAX];
    struct runs *runs;
    struct err e;
    enum code code = CODE_OK;
    struct run *is = NULL;
    snprintf(study, sizeof study, "%s/runs/%s", folder, r->study);
    if (runs_open(study, &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    for (int i = 0; i < runs->n && !is; i++) if (run_look(&runs->run[i])) is = &runs->run[i];
    struct reader *before = run_reader(was), *now = is ? run_reader(is) : NULL;
    code = before && now ? compare_files(was, before, is, now) : cli_fail(CODE_INPUT, "%s: nothing was trained that can be read", study);
    runs_close(runs);
    return code;
}

static enum code check(struct run *was, const struct record *r, const char *data, const char *folder)
{
    char out[PATH_MAX];
    snprintf(out, sizeof out, "%s/runs", folder);
    say_origin(r);
    if (was->condition != STATUS_FINISHED && was->condition != STATUS_DIVERGED)
        fprintf(stderr, "note: it is %s at step %lld of %lld: what it has is compared with a whole run\n", condition_name(was->condition), (long long)was->step, (long long)was->steps);
    json_t *words = record_command(r, true, folder, data, out);
    if (!isatty(STDERR_FILENO)) {
        json_array_append_new(words, json_string("--progress"));
        json_array_append_new(words, json_string("none"));
    }
    enum code code = train_anew(words);
    json_decref(words);
    if (code == CODE_OK || (code == CODE_DIVERGED && was->condition == STATUS_DIVERGED)) return compare_run(was, r, folder);
    return cli_fail(code, "training anew left with code %d", (int)code);
}

static enum code check_aside(struct run *was, const struct record *r, const char *data)
{
    const char *place = getenv("TMPDIR");
    char folder[PATH_MAX];
    struct err e;
    snprintf(folder, sizeof folder, "%s/sluice-reproduce-XXXXXX", place && *place ? place : "/tmp");
    if (!mkdtemp(folder)) return cli_fail(CODE_FAILURE, "%s: %s", folder, strerror(errno));
    enum code code = record_write(r, folder, &e) ? cli_fail(CODE_FAILURE, "%s", e.text) : check(was, r, data, folder);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}

/* ---- the command ---- */

static char *command_of(const struct record *r, bool alone, const char *folder, const char *data, const char *out)
{
    json_t *words = record_command(r, alone, folder, data, out);
    char *command = record_quoted(words);
    json_decref(words);
    return command;
}

/* A run in the folder of a study that does not name it: what would name it again. */
static void say_earlier(const struct run *was, const struct record *r, const char *folder, const char *data)
{
    char study[PATH_MAX];
    if (was->variant >= 0 || !realpath(was->path, study)) return;
    for (int up = 0; up < 3; up++) *strrchr(study, '/') = 0;
    if (!runs_is_study(study)) return;
    *strrchr(study, '/') = 0;
    char *command = command_of(r, false, folder, data, study);
    fprintf(stderr, "note: its study does not name it any more; this has the study name it again, and trains no finished run:\n  %s%s\n", command, folder ? " --replace" : "");
    free(command);
}

static enum code reproduce(const struct call *c, struct run *was, const struct record *r)
{
    const char *folder = cli_value(c, "output", NULL);
    char out[PATH_MAX] = "reproduced";
    struct err e;
    enum code code = CODE_OK;
    const char *data = find_data(c, r, &code);
    if (!data) return code;
    bool again = cli_flag(c, "check"), trust = json_is_true(json_object_get(r->record, "trust"));
    if (trust && again && !cli_flag(c, "trust")) return cli_fail(CODE_INPUT, "%s: its script was run with --trust, and may do anything; --trust runs it again", was->path);
    if (trust) fprintf(stderr, "note: it was run with --trust: what the script read beside the files that are kept is not known\n");
    if (!folder && !again && !record_intact(r, &e)) return cli_fail(CODE_INPUT, "%s\n  sluice reproduce %s -o DIR writes the files as they were", e.text, c->word[0]);
    if (folder) snprintf(out, sizeof out, "%s/runs", folder);
    char *command = command_of(r, true, folder, data, out);
    for (const char *at = command; *at; at++)
        if (iscntrl((unsigned char)*at)) code = CODE_INPUT;
    if (code != CODE_OK) cli_fail(code, "%s: its command holds control characters, which are not printed", was->path);
    else if (folder && (record_write(r, folder, &e) || write_readme(r, folder, command, &e))) code = cli_fail(CODE_FAILURE, "%s", e.text);
    else if (folder || !again) printf("%s\n", command);
    free(command);
    if (code == CODE_OK && (folder || !again)) say_earlier(was, r, folder, data);
    if (code == CODE_OK && again) code = folder ? check(was, r, data, folder) : check_aside(was, r, data);
    return code;
}

static enum code run(const struct call *c)
{
    struct runs *runs;
    struct err e;
    if (runs_is_study(c->word[0])) return cli_usage(c, "%s is a study; give one of its runs (sluice ls %s)", c->word[0], c->word[0]);
    if (runs_open(c->word[0], &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    struct run *was = &runs->run[0];
    struct reader *reader = run_reader(was);
    enum code code;
    if (!reader) code = cli_fail(CODE_INPUT, "%s", was->problem ? was->problem : "the run was not begun");
    else {
        struct record r = record_read(reader);
        if (reader_result(reader, &e)) code = cli_fail(CODE_INPUT, "%s", e.text);
        else if (r.record) code = reproduce(c, was, &r);
        else code = cli_fail(CODE_INPUT, "%s: was written before format 1.2, and does not say how it was run; its configuration and script: sluice show", was->path);
        record_free(&r);
    }
    runs_close(runs);
    return code;
}

const struct command command_reproduce = {
    .name = "reproduce", .about = "the command and the files that make a run, and whether they still do", .usage = "RUN",
    .example = "sluice reproduce runs/quickstart/base-3f9a12cd/0\nsluice reproduce runs/quickstart/base-3f9a12cd/0 -o again --check", .options = options, .least = 1, .most = 1, .run = run,
    .more = "Run files keep the script, every file that it required, and what the command line changed: neither needs to be there any more. Without\n"
            "-o the command names the script where it lay, as long as it is what it was. --check leaves with code 8 when a value differs. Bits are\n"
            "the same within one revision, instruction set, backend and number of ranks; what is not the same is said.",
};
