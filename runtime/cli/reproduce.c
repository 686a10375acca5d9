/* sluice reproduce: the command and the files that make a run, and whether they still do. */
#include "retrain.h"
#include "base/file.h"
#include "base/text.h"
#include "train/trained.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    { "output", 'o', "DIR", "write the script and what it required into this folder, with the command" },
    { "check", 0, NULL, "train the run anew and compare every value and the state, bit for bit" },
    { "data", 'd', "FILE", "where the data lies now; it must be the same, by its hash" },
    { "trust", 0, NULL, "check a run whose script was given the whole of Lua" },
    { 0 }
};

/* The path that was recorded, or --data, when it holds what the run was trained on. */
static const char *find_data(const struct call *c, const struct record *r, enum code *code)
{
    const char *path = cli_value(c, "data", r->data);
    struct corpus *corpus;
    struct err e;
    if (trained_data(path, r->data_hash, &corpus, &e)) {
        *code = cli_fail(CODE_INPUT, "%s", e.text);
        return NULL;
    }
    corpus_close(corpus);
    return path;
}

/* Malloc'd. A file from anywhere must not speak to the terminal: NULL, having said so. */
static char *command_of(const struct record *r, bool alone, const char *folder, const char *data, const char *out)
{
    json_t *words = record_command(r, alone, folder, data, out);
    char *command = record_quoted(words), *at = command;
    json_decref(words);
    while (*at && !iscntrl((unsigned char)*at)) at++;
    if (!*at) return command;
    cli_fail(CODE_INPUT, "the command holds control characters, which are not printed");
    free(command);
    return NULL;
}

static int write_readme(const struct record *r, const char *folder, const char *command, struct err *e)
{
    char *path = text_new("%s/README", folder);
    struct file *file = file_begin(path, FILE_REGULAR, e);
    free(path);
    if (!file) return -1;
    FILE *f = file_stream(file);
    fprintf(f, "Run %s/%s of the study %s, seed %s.\n", r->variant, r->replicate, r->study, r->seed);
    fprintf(f, "Revision %s, %s, backend %s; data with the hash %s.\n", r->revision, r->isa, r->backend, r->data_hash);
    fprintf(f, "\n%s\n", command);
    return file_commit(file, e);
}

/* A run in the folder of a study that does not name it: what would name it again. */
static void say_earlier(const struct run *was, const struct record *r, const char *folder, const char *data)
{
    char study[PATH_MAX];
    if (was->variant >= 0 || !realpath(was->path, study)) return;
    for (int up = 0; up < 3 && strrchr(study, '/'); up++) *strrchr(study, '/') = 0;
    if (!runs_is_study(study)) return;
    *strrchr(study, '/') = 0;
    char *command = command_of(r, false, folder, data, study);
    if (command)
        fprintf(stderr, "note: its study does not name it any more; this has the study name it again, and trains no "
                "finished run:\n  %s%s\n", command, folder ? " --replace" : "");
    free(command);
}

/* Prints the command, and with a folder writes there what it needs. */
static enum code tell(const struct run *was, const struct record *r, const char *folder, const char *data)
{
    char *out = NULL, *command;
    struct err e;
    if (folder) out = text_new("%s/runs", folder);
    command = command_of(r, true, folder, data, folder ? out : "reproduced");
    enum code code = command ? CODE_OK : CODE_INPUT;
    if (command && folder && (record_write(r, folder, &e) || write_readme(r, folder, command, &e)))
        code = cli_fail(CODE_FAILURE, "%s", e.text);
    if (code == CODE_OK) {
        printf("%s\n", command);
        say_earlier(was, r, folder, data);
    }
    free(out);
    free(command);
    return code;
}

static enum code reproduce(const struct call *c, struct run *was, const struct record *r)
{
    const char *folder = cli_value(c, "output", NULL);
    bool check = cli_flag(c, "check"), trust = json_is_true(json_object_get(r->record, "trust"));
    struct err e;
    enum code code = CODE_OK;
    const char *data = find_data(c, r, &code);
    if (!data) return code;
    if (trust && check && !cli_flag(c, "trust"))
        return cli_fail(CODE_INPUT, "%s: its script was run with --trust, and may do anything; --trust runs it again",
                        was->path);
    if (trust) fprintf(stderr, "note: it was run with --trust: what it read beside the files kept is not known\n");
    if (!folder && !check && !record_intact(r, &e))
        return cli_fail(CODE_INPUT, "%s\n  sluice reproduce %s -o DIR writes the files as they were", e.text,
                        c->word[0]);
    if (folder || !check) code = tell(was, r, folder, data);
    if (code == CODE_OK && check) code = folder ? retrain_in(folder, was, r, data) : retrain_aside(was, r, data);
    return code;
}

static enum code run(const struct call *c)
{
    const char *path = c->word[0];
    struct runs *runs;
    struct err e;
    enum code code;
    if (runs_is_study(path)) return cli_usage(c, "%s is a study; give one of its runs (sluice ls %s)", path, path);
    if (runs_open(path, &runs, &e)) return cli_fail(CODE_INPUT, "%s", e.text);
    struct run *was = &runs->run[0];
    struct reader *reader = run_reader(was);
    if (!reader) code = cli_fail(CODE_INPUT, "%s", was->problem ? was->problem : "the run was not begun");
    else {
        struct record r = record_read(reader);
        if (reader_result(reader, &e)) code = cli_fail(CODE_INPUT, "%s", e.text);
        else if (r.record) code = reproduce(c, was, &r);
        else code = cli_fail(CODE_INPUT, "%s: is older than format 1.2, and does not say how it was run\n"
                             "  its configuration and script: sluice show", was->path);
        record_free(&r);
    }
    runs_close(runs);
    return code;
}

const struct command command_reproduce = {
    .name = "reproduce", .usage = "RUN",
    .about = "the command and the files that make a run, and whether they still do",
    .example = "sluice reproduce runs/quickstart/base-3f9a12cd/0\n"
               "sluice reproduce runs/quickstart/base-3f9a12cd/0 -o again --check",
    .options = options, .least = 1, .most = 1, .run = run,
    .more = "Run files keep the script, every file that it required, and what the command line changed: none of these\n"
            "needs to be there any more. Without -o the command names the script where it lay, as long as it is what\n"
            "it was. --check leaves with code 8 when a value differs. Bits are the same within one revision, "
            "instruction\nset, backend and number of ranks; what is not the same is said.",
};
