/* Script, description, data, study; and every mistake on the way with the line that made it. */
#define _GNU_SOURCE
#include "script.h"
#include "bind.h"
#include "declared.h"
#include "regular.h"
#include "train.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void report(struct script *script, const struct problems *problems)
{
    for (int i = 0; i < problems->n; i++) {
        const struct problem *p = &problems->problem[i];
        if (!script || !*p->path) {
            fprintf(stderr, "%s%s%s%s\n", p->variant ? "variant '" : "", p->variant ? p->variant : "", p->variant ? "': " : "", p->text);
            continue;
        }
        fprintf(stderr, "%s: %s: %s", script_locate(script, p->variant, p->path), p->path, p->text);
        if (p->variant) fprintf(stderr, "\n  in variant '%s'", p->variant);
        fputc('\n', stderr);
    }
    fprintf(stderr, "%d %s; nothing was run.\n", problems->n, problems->n == 1 ? "mistake" : "mistakes");
}

extern const struct command command_run;                    /* whose runs measure */

static json_t *word_json(const char *word)
{
    json_t *json = json_string(word);
    return json ? json : json_string("(a word that is not UTF-8)");
}

/* Everything that went into the study beside the text of its files, and what the command line put in its place. */
static json_t *record_of(const struct call *c, const json_t *description, const struct corpus_info *data)
{
    const char **sets, *replicates = cli_value(c, "replicates", NULL), *file = cli_value(c, "data", NULL);
    char folder[PATH_MAX] = "", script[PATH_MAX], created[32], hash[33];
    time_t now = time(NULL);
    struct tm utc;
    json_t *command = json_array(), *set = json_array();
    for (const char *const *word = cli_line(); *word; word++) json_array_append_new(command, word_json(*word));
    for (int i = 0, n = cli_values(c, "set", &sets); i < n; i++) json_array_append_new(set, word_json(sets[i]));
    free(sets);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    hash_print(data->hash, hash);
    json_t *record = json_pack("{s:o, s:o, s:s, s:s, s:s, s:b}", "command", command, "set", set, "data_hash", hash, "revision", train_revision, "created", created, "trust", cli_flag(c, "trust"));
    if (!record) return NULL;
    json_object_set(record, "script_xxh128", json_object_get(description, "script_xxh128"));
    if (file) json_object_set_new(record, "data", json_string(file));
    if (replicates) json_object_set_new(record, "replicates", json_integer(atoi(replicates)));
    json_object_set_new(record, "folder", json_string(getcwd(folder, sizeof folder) ? folder : ""));
    json_object_set_new(record, "script", json_string(realpath(c->word[0], script) ? script : c->word[0]));
    return record;
}

static struct study *resolve(const struct call *c, json_t *description, struct problems *problems, enum code *code)
{
    struct err e;
    struct corpus *corpus;
    struct study *study = NULL;
    int64_t replicates = 0;
    const char *data = cli_value(c, "data", NULL);
    if (cli_integer(c, "replicates", 1, 1000, &replicates)) { *code = CODE_USAGE; return NULL; }
    if (replicates) json_object_set_new(description, "replicates", json_integer(replicates));
    char *found = corpus_find(data ? data : json_string_value(json_object_get(description, "data")), data ? NULL : c->word[0]);
    json_object_set_new(description, "data", json_string(found));
    *code = CODE_SCRIPT;
    int failed = corpus_open(&corpus, found, &e);
    free(found);
    if (failed) {
        *code = cli_fail(CODE_INPUT, "data: %s\n  a path in a script is looked for beside it, then in the working folder; pack text with: sluice data pack TEXT... -o FILE.tok; or use the built-in language: --data synthetic", e.text);
        return NULL;
    }
    if (c->command == &command_run && corpus_eval_set(corpus, 0).targets == 0) {
        *code = cli_fail(CODE_INPUT, "data: %s: nothing is held out to measure on; "
                         "pack it with --held-out SHARE or --held-out-from INPUT", corpus_info(corpus)->path);
        corpus_close(corpus);
        return NULL;
    }
    json_object_set_new(description, "record", record_of(c, description, corpus_info(corpus)));
    if (study_resolve(description, corpus_info(corpus), &study, problems) == 0) declared_check(study, problems);
    if (problems->n == 0) {
        study->dir = arena_text(study->arena, "%s/%s", cli_value(c, "out", "runs"), study->name);
        *code = CODE_OK;
    }
    else {
        study_free(study);
        study = NULL;
    }
    corpus_close(corpus);
    return study;
}

struct study *script_study(const struct call *c, enum code *code)
{
    struct script *script = NULL;
    struct problems problems = { 0 };
    json_t *description = NULL;
    struct study *study = NULL;
    struct script_options o = { .trust = cli_flag(c, "trust") };
    o.n_set = cli_values(c, "set", (const char ***)(void *)&o.set);
    struct err e;
    int file = regular_open(c->word[0], &e);
    if (file < 0) {
        *code = cli_fail(CODE_INPUT, "%s: %s", c->word[0], e.text);
        free((void *)(uintptr_t)o.set);
        return NULL;
    }
    close(file);
    *code = CODE_SCRIPT;
    if (script_run(c->word[0], &o, &script, &description, &problems) == 0) study = resolve(c, description, &problems, code);
    if (problems.n) report(script, &problems);
    problems_free(&problems);
    json_decref(description);
    script_free(script);
    free((void *)(uintptr_t)o.set);
    return study;
}
