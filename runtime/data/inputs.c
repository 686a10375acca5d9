/* From files and folders to documents. */
#include "corpus.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void put(struct sink *to, const char *text, size_t bytes)
{
    if (bytes) to->document(to, text, bytes);
}

/* The end of the line that begins at `text`, beyond its newline. */
static const char *line_end(const char *text, const char *end)
{
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    return newline ? newline + 1 : end;
}

static size_t line_length(const char *line, const char *next)
{
    size_t n = (size_t)(next - line);
    if (n && line[n - 1] == '\n') n--;
    if (n && line[n - 1] == '\r') n--;
    return n;
}

static bool percent(const char *line, size_t n) { return n == 1 && *line == '%'; }

static bool blank(const char *line, size_t n)
{
    while (n && (line[n - 1] == ' ' || line[n - 1] == '\t')) n--;
    return n == 0;
}

/* Documents are what lies between separating lines. */
static void split(const struct map *m, bool (*separates)(const char *line, size_t n), struct sink *to)
{
    const char *begin = (const char *)m->bytes, *end = begin + m->size;
    for (const char *line = begin, *next; line < end; line = next) {
        next = line_end(line, end);
        if (!separates(line, line_length(line, next))) continue;
        put(to, begin, (size_t)(line - begin));
        begin = next;
    }
    put(to, begin, (size_t)(end - begin));
}

static int json_lines(const struct map *m, const char *path, struct sink *to, struct err *e)
{
    const char *line = (const char *)m->bytes, *end = line + m->size, *next;
    for (int number = 1; line < end; number++, line = next) {
        next = line_end(line, end);
        size_t length = line_length(line, next);
        if (blank(line, length)) continue;
        json_error_t error;
        json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
        if (!object) return err_set(e, "%s:%d: column %d: %s", path, number, error.column, error.text);
        json_t *text = json_object_get(object, "text");
        bool good = json_is_string(text);
        if (good) put(to, json_string_value(text), json_string_length(text));
        json_decref(object);
        if (!good) return err_set(e, "%s:%d: must be an object with a string 'text'", path, number);
    }
    return 0;
}

static bool named(const char *path, const char *ending)
{
    size_t n = strlen(path), k = strlen(ending);
    return n > k && !strcmp(path + n - k, ending);
}

static int walk_file(const char *path, bool piped, bool split_blank_lines, struct sink *to, struct err *e)
{
    struct map m;
    int failed = 0;
    if (piped ? piped_map(&m, path, e) : regular_map(&m, path, e)) return err_prefix(e, "%s: ", path);
    if (tokens_magic(&m)) failed = err_set(e, "%s: is a token file, not text", path);
    else if (named(path, ".jsonl")) failed = json_lines(&m, path, to, e);
    else if (named(path, ".fortune")) split(&m, percent, to);
    else if (split_blank_lines) split(&m, blank, to);
    else put(to, (const char *)m.bytes, m.size);
    if (!failed) failed = regular_whole(&m, e);
    regular_unmap(&m);
    return failed;
}

static int visible(const struct dirent *d) { return d->d_name[0] != '.'; }

/* strcmp, not alphasort: the order must not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int walk(const char *path, bool split_blank_lines, int depth, struct sink *to, struct err *e)
{
    enum { DEEPEST = 40 };
    struct stat s;
    bool asked = depth == 0;                                /* by its name: in a folder nobody asked for a pipe */
    if (asked && piped_is(path)) return walk_file(path, true, split_blank_lines, to, e);
    if (stat(path, &s)) return err_set(e, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(s.st_mode)) return walk_file(path, false, split_blank_lines, to, e);
    if (depth > DEEPEST) return err_set(e, "%s: folders lie more than %d deep: a link that leads back?", path, DEEPEST);
    struct dirent **entry;
    int failed = 0, n = scandir(path, &entry, visible, by_name);
    if (n < 0) return err_set(e, "%s: %s", path, strerror(errno));
    for (int i = 0; i < n; free(entry[i++])) {
        if (failed) continue;
        char *name = xmalloc(strlen(path) + strlen(entry[i]->d_name) + 2);
        sprintf(name, "%s/%s", path, entry[i]->d_name);
        failed = walk(name, split_blank_lines, depth + 1, to, e);
        free(name);
    }
    free(entry);
    return failed;
}

int inputs_walk(const char *path, bool split_blank_lines, struct sink *to, struct err *e)
{
    return walk(path, split_blank_lines, 0, to, e);
}
