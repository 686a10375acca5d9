/* Script, description, data, study; and every mistake on the way with the line that made it. A script may come from
   anywhere, so all this happens in a process of its own, from which only the study comes back. */
#include "script.h"
#include "bind.h"
#include "declared.h"
#include "base/child.h"
#include "base/regular.h"
#include "base/terminal.h"
#include "base/text.h"
#include "train/start.h"
#include "train/train.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Seconds of processor time: Lua counts its own and says where it stands, the kernel also sees what Lua does not count;
   then for variants, which take as long as they are many and large. Of the clock, for what waits. */
enum { LONGEST_SCRIPT = SCRIPT_SECONDS + 1, PLAN_SECONDS = 120, CLOCK_MINUTES = 10, PLAN_MEMORY_GIB = 2 };

/* ---- limits, as handlers of signals say them ---- */

static const char *planned;                                 /* path of the script */

static void lost(int number)
{
    (void)number;
    child_give_up("%s: the script took more than %d seconds of processor time", planned, LONGEST_SCRIPT);
}

static void script_late(int number)
{
    char location[SCRIPT_LOCATION];
    (void)number;
    signal(SIGSEGV, lost);                                  /* Lua may have been in the middle of anything */
    script_stands(location);
    child_give_up("%s: the script took more than %d seconds of processor time: is a list or a text too long?",
                  *location ? location : planned, LONGEST_SCRIPT);
}

static void plan_late(int number)
{
    (void)number;
    child_give_up("%s: planning took more than %d seconds of processor time: its variants are too many or too large\n"
                  "  --trust plans without limits", planned, PLAN_SECONDS);
}

static void plan_large(size_t wanted)
{
    (void)wanted;
    child_give_up("%s: planning needs more than %d GiB of memory: its variants are too many or too large\n"
                  "  --trust plans without limits", planned, PLAN_MEMORY_GIB);
}

static void clock_late(int number)
{
    (void)number;
    child_give_up("%s: planning did not end within %d minutes: does it wait for a file?", planned, CLOCK_MINUTES);
}

static void limit_script(void)
{
    child_memory((size_t)PLAN_MEMORY_GIB << 30, plan_large);
    child_seconds(LONGEST_SCRIPT, LONGEST_SCRIPT + PLAN_SECONDS + 5, script_late);
    signal(SIGALRM, clock_late);
    alarm(60 * CLOCK_MINUTES);
}

/* ---- in the process of its own ---- */

struct planning { const struct call *call; bool measured; int64_t replicates; };

/* Mistakes of a script can be told without its data: any would do. */
static const struct corpus_info any_data = { .path = "", .train_tokens = UINT64_MAX };

static void lacks_data(const struct call *c, struct script *script, bool is_task, const char *why,
                       struct problems *problems)
{
    const char *given = cli_value(c, "data", NULL), *location = given ? "--data " : script_locate(script, NULL, "data");
    static const char where[] =
        "\n  a path in a script is looked for beside it, then in the working folder; pack text with: sluice data pack "
        "TEXT... -o FILE.tok; or use the built-in language: --data synthetic";
    problem_add(problems, "", "%s%s: data: %s%s", location, given ? given : "", why, is_task ? "" : where);
}

/* The folder of a variant, whose own name may be without its hash: its study's, found as data is. Malloc'd. */
static char *find_choices(const char *path, const char *script)
{
    const char *slash = strrchr(path, '/');
    char *study = slash ? strndup(path, (size_t)(slash - path)) : NULL,
         *found = study ? corpus_find(study, script) : NULL,
         *out = found ? text_new("%s%s", found, slash) : xstrdup(path);
    free(found);
    free(study);
    return out;
}

/* A study keeps the path as text and prints it. */
static int open_data(struct corpus **corpus, const char *path, struct err *e)
{
    char *harmless = terminal_text(path, strlen(path));
    bool text = strcmp(harmless, path) == 0;
    free(harmless);
    if (text) return corpus_open(corpus, path, e);
    return err_set(e, "%s: a path of bytes that are no UTF-8, or control terminals, is not kept: give the file another "
                      "name", path);
}

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
    json_t *record = json_pack("{s:o, s:o, s:s, s:s, s:s, s:b}", "command", command, "set", set, "data_hash", hash,
                               "revision", train_revision, "created", created, "trust", cli_flag(c, "trust"));
    if (!record) return NULL;
    json_object_set(record, "script_xxh128", json_object_get(description, "script_xxh128"));
    if (file) json_object_set_new(record, "data", json_string(file));
    json_object_set(record, "choices", json_object_get(description, "choices"));
    if (replicates) json_object_set_new(record, "replicates", json_integer(atoi(replicates)));
    json_object_set_new(record, "folder", json_string(getcwd(folder, sizeof folder) ? folder : ""));
    json_object_set_new(record, "script", json_string(realpath(c->word[0], script) ? script : c->word[0]));
    return record;
}

static struct study *resolve(const struct planning *p, struct script *script, json_t *description,
                             struct problems *problems, enum code *code)
{
    const struct call *c = p->call;
    struct err e;
    struct corpus *corpus = NULL;
    struct study *study = NULL;
    const char *data = cli_value(c, "data", NULL);
    if (p->replicates) json_object_set_new(description, "replicates", json_integer(p->replicates));
    char *found = corpus_find(data ? data : json_string_value(json_object_get(description, "data")),
                              data ? NULL : c->word[0]);
    json_object_set_new(description, "data", json_string(found));
    const char *choices = json_string_value(json_object_get(description, "choices"));
    char *whose = choices ? find_choices(choices, c->word[0]) : NULL;
    if (whose) json_object_set_new(description, "choices", json_string(whose));
    free(whose);
    int lacking = open_data(&corpus, found, &e);
    bool is_task = corpus_is_task(found);
    free(found);
    if (!lacking) json_object_set_new(description, "record", record_of(c, description, corpus_info(corpus)));
    if (study_resolve(description, lacking ? &any_data : corpus_info(corpus), &study, problems) == 0) {
        declared_check(study, problems);
        start_check(study, problems);
    }
    if (lacking && problems->n == 0) *code = CODE_INPUT;
    if (lacking) lacks_data(c, script, is_task, e.text, problems);
    else {
        if (p->measured && corpus_eval_set(corpus, 0).targets == 0) {
            if (problems->n == 0) *code = CODE_INPUT;
            problem_add(problems, "", "data: %s: nothing is held out to measure on; pack it with --held-out SHARE or "
                                      "--held-out-from INPUT", corpus_info(corpus)->path);
        }
        corpus_close(corpus);
    }
    return study;
}

/* Whether so much was described that more mistakes can be looked for. */
static bool is_worth_resolving(const json_t *description)
{
    return json_is_object(json_object_get(description, "base")) &&
           json_array_size(json_object_get(description, "variants")) > 0;
}

/* "x.lua:12: ffn.router.topk: no parameter ...", harmless text. */
static json_t *mistake(struct script *script, const struct problem *p)
{
    char *text = *p->path ? text_new("%s: %s: %s%s%s%s", script_locate(script, p->variant, p->path), p->path, p->text,
                                     p->variant ? "\n  in variant '" : "", p->variant ? p->variant : "",
                                     p->variant ? "'" : "")
                          : text_new("%s%s%s%s", p->variant ? "variant '" : "", p->variant ? p->variant : "",
                                     p->variant ? "': " : "", p->text);
    char *harmless = terminal_text(text, strlen(text));
    json_t *json = json_string(harmless);
    free(harmless);
    free(text);
    return json;
}

static void say_as_event(const char *line)
{
    json_t *event = json_pack("{s:s, s:s}", "event", "print", "text", line);
    char *text = json_dumps(event, JSON_COMPACT);
    fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(event);
}

/* What goes to stderr is read by a program: --progress json. */
static bool tells_events(const struct call *c)
{
    const char *progress = NULL;
    for (int i = 0; i < c->n_given; i++)
        if (strcmp(c->given[i].option->name, "progress") == 0) progress = c->given[i].value;
    return progress && strcmp(progress, "json") == 0;
}

/* {"code", "mistakes": number, "told": the first of them, "study" when there is none}. */
static json_t *plan(const struct planning *p)
{
    const struct call *c = p->call;
    struct script *script = NULL;
    struct problems problems = { 0 };
    json_t *description = NULL, *told = json_array();
    struct study *study = NULL;
    struct script_options o = { .trust = cli_flag(c, "trust"), .say = tells_events(c) ? say_as_event : NULL };
    o.n_set = cli_values(c, "set", (const char ***)(void *)&o.set);
    enum code code = CODE_SCRIPT;
    planned = c->word[0];
    if (!o.trust) limit_script();
    script_run(c->word[0], &o, &script, &description, &problems);
    if (!o.trust) child_seconds(PLAN_SECONDS, LONGEST_SCRIPT + PLAN_SECONDS + 5, plan_late);
    if (!script_is_read(script)) code = CODE_INPUT;
    if (is_worth_resolving(description)) study = resolve(p, script, description, &problems, &code);
    for (int i = 0; i < problems_kept(&problems); i++)
        json_array_append_new(told, mistake(script, &problems.problem[i]));
    return problems.n ? json_pack("{s:i, s:i, s:o}", "code", code, "mistakes", problems.n, "told", told)
                      : json_pack("{s:i, s:i, s:o, s:o}", "code", CODE_OK, "mistakes", 0, "told", told,
                                  "study", study_write(study));
}

static char *plan_text(void *planning)
{
    json_t *made = plan(planning);
    return made ? json_dumps(made, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
}

/* ---- in this process ---- */

/* One mistake, whose further lines are indented, so that nothing in it looks like another. */
static void print_mistake(const char *text)
{
    for (size_t n; *text; text += n) {
        n = strcspn(text, "\n");
        fprintf(stderr, "%.*s\n", (int)n, text);
        if (text[n]) n++;
        if (text[n] && strncmp(text + n, "  ", 2) != 0) fputs("  ", stderr);
    }
}

static void report(const json_t *told, int mistakes)
{
    for (size_t i = 0; i < json_array_size(told); i++) print_mistake(json_string_value(json_array_get(told, i)));
    if (mistakes > (int)json_array_size(told)) fprintf(stderr, "and %d more\n", mistakes - (int)json_array_size(told));
    fprintf(stderr, "%d %s; nothing was run.\n", mistakes, mistakes == 1 ? "mistake" : "mistakes");
}

struct study *script_study(const struct call *c, bool measured, enum code *code)
{
    struct planning planning = { .call = c, .measured = measured };
    struct study *study = NULL;
    struct err e;
    *code = CODE_USAGE;
    if (cli_integer(c, "replicates", 1, 1000, &planning.replicates)) return NULL;
    char *result = child_run(plan_text, &planning, &e);
    json_t *made = result ? json_loads(result, 0, NULL) : NULL;
    INVARIANT(made || !result, "what planning made cannot be read");
    free(result);
    if (!made) {
        if (strncmp(e.text, "ended ", 6) == 0) err_prefix(&e, "%s: planning ", c->word[0]);
        char *text = terminal_text(e.text, strlen(e.text));
        made = json_pack("{s:i, s:i, s:[s]}", "code", CODE_SCRIPT, "mistakes", 1, "told", text);
        free(text);
    }
    int mistakes = (int)json_integer_value(json_object_get(made, "mistakes"));
    *code = (enum code)json_integer_value(json_object_get(made, "code"));
    if (mistakes) report(json_object_get(made, "told"), mistakes);
    else {
        INVARIANT(study_read(json_object_get(made, "study"), &study, &e) == 0, "a planned study cannot be read: %s",
                  e.text);
        study->dir = arena_text(study->arena, "%s/%s", cli_value(c, "out", "runs"), study->name);
    }
    json_decref(made);
    return study;
}

int script_variant(const struct call *c, const char *option, const struct study *s)
{
    const char *name = cli_value(c, option, s->variant[s->baseline].name);
    int found = study_variant(s, name);
    char hint[HINT];
    if (found < 0)
        cli_fail(CODE_USAGE, "--%s %s: the study has no such variant%s", option, name,
                 did_you_mean(study_nearest(s, name), hint));
    return found;
}
