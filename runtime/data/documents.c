/* From a file's bytes to documents, by its name: text, JSON, pages. */
#include "documents.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void put_counting(struct documents *d, const char *text, const char *counts, size_t bytes)
{
    if (!bytes) return;
    d->walk->to->document(d->walk->to, text, counts, bytes);
    d->file->documents++;
    d->file->bytes += bytes;
}

static void put(struct documents *d, const char *text, size_t bytes) { put_counting(d, text, NULL, bytes); }

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
static int split(struct documents *d, bool (*separates)(const char *line, size_t n))
{
    const char *begin = d->at;
    for (const char *line = begin, *next; line < d->end; line = next) {
        next = line_end(line, d->end);
        if (!separates(line, line_length(line, next))) continue;
        put(d, begin, (size_t)(line - begin));
        begin = next;
    }
    put(d, begin, (size_t)(d->end - begin));
    return 0;
}

static int fortunes(struct documents *d, struct err *e) { (void)e; return split(d, percent); }

static int plain(struct documents *d, struct err *e)
{
    (void)e;
    if (d->walk->options->split_blank_lines) return split(d, blank);
    put(d, d->at, (size_t)(d->end - d->at));
    return 0;
}

static int page(struct documents *d, struct err *e)
{
    (void)e;
    html_text(d->at, (size_t)(d->end - d->at), &d->text);
    put(d, d->text.bytes, d->text.used);
    return 0;
}

/* ---- JSON ---- */

static const char *key_of(const struct documents *d) { return d->walk->options->key ? d->walk->options->key : "text"; }

/* What cannot be used is counted, and the first of it noted; or it is an error. */
static int skip(struct documents *d, const struct err *why, struct err *e)
{
    enum { NOTED = 3 };
    if (d->walk->options->strict) { *e = *why; return -1; }
    if (d->file->skipped < NOTED) d->file->skip[d->file->skipped] = arena_text(d->walk->made->arena, "%s", why->text);
    d->file->skipped++;
    return 0;
}

static void no_text(struct err *why, const struct documents *d, const char *unit, uint64_t number)
{
    const struct buffer *names = &d->json.names;
    const char *path = d->file->path;
    if (names->used)
        err_set(why, "%s:%s%llu: no string '%s'; there is %.*s (--key NAME says which is the text)", path, unit,
                (unsigned long long)number, key_of(d), (int)names->used, names->bytes);
    else err_set(why, "%s:%s%llu: neither a string nor an object with a string '%s'", path, unit,
                 (unsigned long long)number, key_of(d));
}

static enum jsontext_found take_value(struct documents *d)
{
    struct jsontext *j = &d->json;
    struct examples *a = d->walk->examples;
    enum jsontext_found found = a ? examples_value(a, j) : jsontext_value(j, key_of(d));
    if (found == JSONTEXT_TEXT && a) put_counting(d, a->text.bytes, a->counts.bytes, a->text.used);
    else if (found == JSONTEXT_TEXT) put(d, j->text.bytes, j->text.used);
    return found;
}

static enum jsontext_found take_whole(struct documents *d, const char *line, size_t length)
{
    struct jsontext *j = &d->json;
    enum jsontext_found found = jsontext_whole(j, line, length, key_of(d));
    if (found == JSONTEXT_BROKEN) return found;
    j->at = line;
    return take_value(d);
}

static int json_line(struct documents *d, const char *line, size_t length, uint64_t number, struct err *e)
{
    struct jsontext *j = &d->json;
    struct err why;
    if (blank(line, length)) return 0;
    switch (take_whole(d, line, length)) {
    case JSONTEXT_TEXT: return 0;
    case JSONTEXT_NONE: no_text(&why, d, "", number); break;
    case JSONTEXT_BROKEN:
        err_set(&why, "%s:%llu: column %lld: %s", d->file->path, (unsigned long long)number,
                (long long)(j->where - line) + 1, j->why);
    }
    return skip(d, &why, e);
}

/* JSON has no carriage return within a value's line either: it ends a line alone, as Python reads it. */
static int json_lines(struct documents *d, struct err *e)
{
    uint64_t number = 1;
    int failed = 0;
    for (const char *line = d->at, *next; line < d->end && !failed; line = next, number++) {
        next = line_end(line, d->end);
        const char *alone = memchr(line, '\r', line_length(line, next));
        if (alone) next = alone + 1;
        failed = json_line(d, line, line_length(line, next), number, e);
    }
    return failed;
}

/* Files named .json often hold lines: then the first is a value, and more follows. */
static bool holds_lines(struct documents *d)
{
    const char *begin = d->at, *next;
    while (begin < d->end && blank(begin, line_length(begin, next = line_end(begin, d->end)))) begin = next;
    next = line_end(begin, d->end);
    const char *rest = next;
    while (rest < d->end && (*rest == ' ' || (*rest >= '\t' && *rest <= '\r'))) rest++;
    return rest < d->end && jsontext_whole(&d->json, begin, line_length(begin, next), key_of(d)) != JSONTEXT_BROKEN;
}

static int broken(const struct documents *d, struct err *e)
{
    const struct jsontext *j = &d->json;
    const char *line = d->at;
    int number = 1;
    for (const char *next; (next = line_end(line, j->where)) < j->where; line = next) number++;
    return err_set(e, "%s:%d: column %lld: %s", d->file->path, number, (long long)(j->where - line) + 1, j->why);
}

/* One value, or a list of them. All of it is read once before a document is taken of it. */
static int json_values(struct documents *d, struct err *e)
{
    struct jsontext *j = &d->json;
    struct err why;
    uint64_t number = 0;
    int failed = 0;
    if (holds_lines(d)) return json_lines(d, e);
    if (jsontext_whole(j, d->at, (size_t)(d->end - d->at), key_of(d)) == JSONTEXT_BROKEN) return broken(d, e);
    j->at = d->at;
    bool list = jsontext_passes(j, '[');
    if (list && jsontext_passes(j, ']')) return 0;
    do {
        enum jsontext_found found = take_value(d);
        number++;
        if (found == JSONTEXT_BROKEN) failed = broken(d, e);
        else if (found == JSONTEXT_NONE) {
            no_text(&why, d, list ? " element " : " value ", number);
            failed = skip(d, &why, e);
        }
    } while (!failed && list && jsontext_passes(j, ','));
    return failed;
}

/* ---- kinds ---- */

static const struct { const char *ending; int (*read)(struct documents *d, struct err *e); bool marks; } kinds[] = {
    { ".jsonl", json_lines, true }, { ".ndjson", json_lines, true }, { ".json", json_values, true },
    { ".html", page, true }, { ".htm", page, true }, { ".xhtml", page, true },
    { ".fortune", fortunes, false }, { "", plain, false },
};

/* Length of a name without the ending, in any case; of a name that has another, 0. */
static size_t before(const char *name, size_t length, const char *ending)
{
    size_t n = strlen(ending);
    return length > n && !strncasecmp(name + length - n, ending, n) ? length - n : 0;
}

static size_t kind_of(const char *name, bool compressed)
{
    size_t length = strlen(name), inner = before(name, length, ".gz"), k = 0;
    if (!inner) inner = before(name, length, ".zst");
    if (compressed && inner) length = inner;
    while (!before(name, length, kinds[k].ending)) k++;
    return k;
}

bool documents_json(const char *name, bool compressed)
{
    size_t k = kind_of(name, compressed);
    return kinds[k].read == json_lines || kinds[k].read == json_values;
}

int documents_read(struct documents *d, bool compressed, struct err *e)
{
    size_t k = kind_of(d->file->path, compressed);
    if (kinds[k].marks && d->end - d->at >= 3 && !memcmp(d->at, "\xef\xbb\xbf", 3)) d->at += 3;
    return kinds[k].read(d, e);
}

void documents_free(struct documents *d)
{
    jsontext_free(&d->json);
    free(d->text.bytes);
}
