/* How a run was made: the record in its file, in words, as a command, as files. */
#include "record.h"
#include "base/regular.h"
#include "base/file.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *text_of(const json_t *j) { return json_is_string(j) ? json_string_value(j) : ""; }
static const char *text_in(const json_t *j, const char *key) { return text_of(json_object_get(j, key)); }

struct record record_read(struct reader *r)
{
    static const char here[] = "/environment";
    return (struct record){
        .study = reader_text(r, "/", "study"), .variant = reader_text(r, "/", "variant"),
        .replicate = reader_text(r, "/", "replicate"), .seed = reader_text(r, "/", "seed"),
        .data = reader_text(r, "/data", "path"), .data_hash = reader_text(r, "/data", "hash"),
        .revision = reader_text(r, here, "revision"), .isa = reader_text(r, here, "isa"),
        .backend = reader_text(r, here, "backend"), .threads = reader_text(r, here, "threads"),
        .host = reader_text(r, here, "host"), .script = reader_script(r),
        .record = json_loads(reader_record(r), 0, NULL), .required = json_loads(reader_required(r), 0, NULL) };
}

struct record record_of_study(const struct study *s)
{
    return (struct record){
        .study = "", .variant = "", .replicate = "", .seed = "", .data = "", .isa = "", .backend = "", .threads = "",
        .host = "", .script = s->script_text,
        .data_hash = text_in(s->record, "data_hash"), .revision = text_in(s->record, "revision"),
        .record = json_incref(s->record), .required = json_incref(s->required) };
}

void record_free(struct record *r)
{
    json_decref(r->record);
    json_decref(r->required);
}

/* ---- words ---- */

/* What is in a file may come from anywhere: no character may end a line or speak to the terminal. */
static void put_plain(const char *text)
{
    for (; *text; text++) putchar(iscntrl((unsigned char)*text) ? '?' : *text);
}

static void line(const char *name, const char *text)
{
    if (!*text) return;
    printf("%-9s ", name);
    put_plain(text);
    putchar('\n');
}

static void put_quoted(FILE *to, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=,:+-@%";
    if (*word && !word[strspn(word, plain)]) { fputs(word, to); return; }
    fputc('\'', to);
    for (; *word; word++) {
        if (*word == '\'') fputs("'\\''", to);
        else fputc(*word, to);
    }
    fputc('\'', to);
}

char *record_quoted(const json_t *words)
{
    char *text = NULL;
    size_t size = 0, i;
    const json_t *word;
    FILE *to = open_memstream(&text, &size);
    INVARIANT(to, "no memory for a command");
    json_array_foreach((json_t *)(uintptr_t)words, i, word) {
        if (i) fputc(' ', to);
        put_quoted(to, text_of(word));
    }
    fclose(to);
    return text;
}

void record_print(const struct record *r)
{
    const json_t *item;
    size_t i;
    line("study", r->study);
    line("variant", r->variant);
    line("replicate", r->replicate);
    line("seed", r->seed);
    line("data", r->data);
    line("data hash", r->data_hash);
    line("revision", r->revision);
    line("isa", r->isa);
    line("backend", r->backend);
    line("threads", r->threads);
    line("host", r->host);
    if (!r->record) { line("command", "not known: the file is older than format 1.2"); return; }
    char *command = record_quoted(json_object_get(r->record, "command"));
    line("command", command);
    free(command);
    line("folder", text_in(r->record, "folder"));
    line("given", text_in(r->record, "created"));
    line("script", text_in(r->record, "script"));
    line("choices", text_in(r->record, "choices"));
    json_array_foreach(r->required, i, item) line("required", text_in(item, "name"));
    json_array_foreach(json_object_get(r->record, "set"), i, item) line("set", text_of(item));
}

static json_t *number_json(const char *text) { return json_integer(strtoll(text, NULL, 10)); }

void record_json(const struct record *r, json_t *into)
{
    const struct { const char *key, *text; } part[] = {
        { "study", r->study }, { "variant", r->variant }, { "data", r->data }, { "data_hash", r->data_hash },
        { "revision", r->revision }, { "isa", r->isa }, { "backend", r->backend }, { "host", r->host } };
    for (int i = 0; i < COUNT(part); i++) json_object_set_new(into, part[i].key, json_string(part[i].text));
    json_object_set_new(into, "replicate", number_json(r->replicate));
    json_object_set_new(into, "seed", number_json(r->seed));
    json_object_set_new(into, "threads", number_json(r->threads));
    json_object_set(into, "record", r->record ? r->record : json_null());
    json_object_set(into, "required", r->required ? r->required : json_null());
}

static void comment(const char *what, const char *text)
{
    printf("-- %s", what);
    put_plain(text);
    putchar('\n');
}

/* What the command line changed, and what is not in the script itself; nothing where the script is all there is. */
static void comments(const struct record *r, const char *path)
{
    const json_t *item, *set = json_object_get(r->record, "set");
    size_t i;
    if (!r->record) comment("the command line that ran this is not known: the file is older than format 1.2", "");
    if (json_array_size(set)) {
        char *command = record_quoted(json_object_get(r->record, "command"));
        comment("run as: ", command);
        free(command);
    }
    json_array_foreach(set, i, item) comment("in place of what stands below: --set ", text_of(item));
    if (json_array_size(r->required)) comment("what it requires is written by: sluice reproduce -o DIR ", path);
    json_array_foreach(r->required, i, item) comment("  ", text_in(item, "name"));
}

void record_script(const struct record *r, const char *path)
{
    size_t skip = *r->script == '#' ? strcspn(r->script, "\n") : 0;     /* "#!" must stay the first line */
    if (skip) printf("%.*s\n", (int)skip, r->script);
    comments(r, path);
    fputs(r->script + skip + (skip && r->script[skip]), stdout);
}

/* ---- the command ---- */

static void put_words(json_t *words, const char *option, const char *value)
{
    json_array_append_new(words, json_string(option));
    if (value) json_array_append_new(words, json_string(value));
}

const char *record_file(const struct record *r)
{
    const char *path = text_in(r->record, "script"), *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

json_t *record_command(const struct record *r, bool alone, const char *folder, const char *data, const char *out)
{
    json_t *words = json_array();
    const json_t *set, *replicates = json_object_get(r->record, "replicates");
    const char *lay = text_in(r->record, "script");
    char *script = folder ? text_new("%s/%s", folder, record_file(r)) : xstrdup(lay),
         *run = text_new("%s/%s", r->variant, r->replicate), number[24];
    size_t i;
    put_words(words, "sluice", "run");
    put_words(words, script, NULL);
    json_array_foreach(json_object_get(r->record, "set"), i, set) put_words(words, "--set", json_string_value(set));
    const char *choices = text_in(r->record, "choices");    /* as the data, wherever the script lies now */
    if (*choices) {
        char *whose = NULL;
        whose = text_new("choices=%s", choices);
        put_words(words, "--set", whose);
        free(whose);
    }
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(replicates));
    if (replicates) put_words(words, "--replicates", number);
    if (json_is_true(json_object_get(r->record, "trust"))) put_words(words, "--trust", NULL);
    put_words(words, "--data", data);
    if (alone) put_words(words, "--only", run);
    put_words(words, "--out", out);
    free(script);
    free(run);
    return words;
}

/* ---- the files ---- */

static int put_file(const char *folder, const char *name, const char *text, struct err *e)
{
    char *path;
    struct stat s;
    path = text_new("%s/%s", folder, name);
    int failure = 0;
    bool legal = *name && *name != '.' && !strchr(name, '/');
    if (!legal)
        failure = err_set(e, "'%s' is no name of a file beside a script: the run file was not written by sluice", name);
    else if (lstat(path, &s) == 0)
        failure = err_set(e, "%s: is there already; give a folder that is new or empty", path);
    else {
        struct file *f = file_begin(path, FILE_REGULAR, e);
        if (f) fputs(text, file_stream(f));
        failure = f ? file_commit(f, e) : -1;
    }
    free(path);
    return failure;
}

int record_write(const struct record *r, const char *folder, struct err *e)
{
    const json_t *file;
    size_t i;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return err_set(e, "%s: the folder cannot be made: %s", folder, strerror(errno));
    int failure = put_file(folder, record_file(r), r->script, e);
    json_array_foreach(r->required, i, file)
        if (!failure) failure = put_file(folder, text_in(file, "name"), text_in(file, "text"), e);
    return failure;
}

static int holds(const char *path, const char *text, struct err *why)
{
    size_t size, most = (strlen(text) >> 20) + 1;
    char *now = regular_text(path, most << 20, &size, why);
    if (!now) return err_prefix(why, "%s: ", path);
    static const char order[] = "\xef\xbb\xbf";             /* a byte order mark is no part of a script */
    size_t mark = strncmp(now, order, 3) == 0 && strncmp(text, order, 3) != 0 ? 3 : 0;
    bool same = size - mark == strlen(text) && memcmp(now + mark, text, size - mark) == 0;
    free(now);
    return same ? 0 : err_set(why, "%s: has changed since", path);
}

bool record_intact(const struct record *r, struct err *why)
{
    const json_t *file;
    const char *script = text_in(r->record, "script");
    size_t i;
    if (holds(script, r->script, why)) return false;
    json_array_foreach(r->required, i, file) {
        char *path;
        int folder = (int)(strlen(script) - strlen(record_file(r)));
        path = text_new("%.*s%s", folder, script, text_in(file, "name"));
        int failure = holds(path, text_in(file, "text"), why);
        free(path);
        if (failure) return false;
    }
    return true;
}
