/* From files and folders to documents. */
#include "inputs.h"
#include "jsontext.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* One file that is taken apart. */
struct reader {
    const struct walk *walk;
    struct packed_file *file;
    const char *at, *end;
    struct jsontext json;
    struct buffer text;
};

static void put(struct reader *r, const char *text, size_t bytes)
{
    if (!bytes) return;
    r->walk->to->document(r->walk->to, text, bytes);
    r->file->documents++;
    r->file->bytes += bytes;
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
static int split(struct reader *r, bool (*separates)(const char *line, size_t n))
{
    const char *begin = r->at;
    for (const char *line = begin, *next; line < r->end; line = next) {
        next = line_end(line, r->end);
        if (!separates(line, line_length(line, next))) continue;
        put(r, begin, (size_t)(line - begin));
        begin = next;
    }
    put(r, begin, (size_t)(r->end - begin));
    return 0;
}

static int fortunes(struct reader *r, struct err *e) { (void)e; return split(r, percent); }

static int plain(struct reader *r, struct err *e)
{
    (void)e;
    if (r->walk->options->split_blank_lines) return split(r, blank);
    put(r, r->at, (size_t)(r->end - r->at));
    return 0;
}

static int page(struct reader *r, struct err *e)
{
    (void)e;
    html_text(r->at, (size_t)(r->end - r->at), &r->text);
    put(r, r->text.bytes, r->text.used);
    return 0;
}

/* ---- JSON ---- */

static const char *key_of(const struct reader *r) { return r->walk->options->key ? r->walk->options->key : "text"; }

/* What cannot be used is counted, and the first of it noted; or it is an error. */
static int skip(struct reader *r, const struct err *why, struct err *e)
{
    enum { NOTED = 3 };
    if (r->walk->options->strict) { *e = *why; return -1; }
    if (r->file->skipped < NOTED) r->file->skip[r->file->skipped] = arena_text(r->walk->made->arena, "%s", why->text);
    r->file->skipped++;
    return 0;
}

static void no_text(struct err *why, const struct reader *r, const char *unit, uint64_t number)
{
    const struct buffer *names = &r->json.names;
    const char *path = r->file->path;
    if (names->used)
        err_set(why, "%s:%s%llu: no string '%s'; there is %.*s (--key NAME says which is the text)", path, unit, (unsigned long long)number, key_of(r),
                (int)names->used, names->bytes);
    else err_set(why, "%s:%s%llu: neither a string nor an object with a string '%s'", path, unit, (unsigned long long)number, key_of(r));
}

static int json_line(struct reader *r, const char *line, size_t length, uint64_t number, struct err *e)
{
    struct jsontext *j = &r->json;
    struct err why;
    if (blank(line, length)) return 0;
    switch (jsontext_whole(j, line, length, key_of(r))) {
    case JSONTEXT_TEXT: put(r, j->text.bytes, j->text.used); return 0;
    case JSONTEXT_NONE: no_text(&why, r, "", number); break;
    case JSONTEXT_BROKEN:
        err_set(&why, "%s:%llu: column %lld: %s", r->file->path, (unsigned long long)number, (long long)(j->where - line) + 1, j->why);
    }
    return skip(r, &why, e);
}

/* JSON has no carriage return within a value's line either: it ends a line alone, as Python reads it. */
static int json_lines(struct reader *r, struct err *e)
{
    uint64_t number = 1;
    int failed = 0;
    for (const char *line = r->at, *next; line < r->end && !failed; line = next, number++) {
        next = line_end(line, r->end);
        const char *alone = memchr(line, '\r', line_length(line, next));
        if (alone) next = alone + 1;
        failed = json_line(r, line, line_length(line, next), number, e);
    }
    return failed;
}

/* Files named .json often hold lines: then the first is a value, and more follows. */
static bool holds_lines(struct reader *r)
{
    const char *begin = r->at, *next;
    while (begin < r->end && blank(begin, line_length(begin, next = line_end(begin, r->end)))) begin = next;
    next = line_end(begin, r->end);
    const char *rest = next;
    while (rest < r->end && (*rest == ' ' || (*rest >= '\t' && *rest <= '\r'))) rest++;
    return rest < r->end && jsontext_whole(&r->json, begin, line_length(begin, next), key_of(r)) != JSONTEXT_BROKEN;
}

static int broken(const struct reader *r, struct err *e)
{
    const struct jsontext *j = &r->json;
    const char *line = r->at;
    int number = 1;
    for (const char *next; (next = line_end(line, j->where)) < j->where; line = next) number++;
    return err_set(e, "%s:%d: column %lld: %s", r->file->path, number, (long long)(j->where - line) + 1, j->why);
}

/* One value, or a list of them. All of it is read once before a document is taken of it. */
static int json_values(struct reader *r, struct err *e)
{
    struct jsontext *j = &r->json;
    struct err why;
    uint64_t number = 0;
    int failed = 0;
    if (holds_lines(r)) return json_lines(r, e);
    if (jsontext_whole(j, r->at, (size_t)(r->end - r->at), key_of(r)) == JSONTEXT_BROKEN) return broken(r, e);
    j->at = r->at;
    bool list = jsontext_passes(j, '[');
    if (list && jsontext_passes(j, ']')) return 0;
    do {
        bool found = jsontext_value(j, key_of(r)) == JSONTEXT_TEXT;
        number++;
        if (found) put(r, j->text.bytes, j->text.used);
        else {
            no_text(&why, r, list ? " element " : " value ", number);
            failed = skip(r, &why, e);
        }
    } while (!failed && list && jsontext_passes(j, ','));
    return failed;
}

/* ---- files ---- */

static const struct { const char *ending; int (*read)(struct reader *r, struct err *e); bool marks; } kinds[] = {
    { ".jsonl", json_lines, true }, { ".ndjson", json_lines, true }, { ".json", json_values, true }, { ".fortune", fortunes, false },
    { ".html", page, true }, { ".htm", page, true }, { ".xhtml", page, true }, { "", plain, false },
};

/* Length of a name without the ending, in any case; of a name that has another, 0. */
static size_t before(const char *name, size_t length, const char *ending)
{
    size_t n = strlen(ending);
    return length > n && !strncasecmp(name + length - n, ending, n) ? length - n : 0;
}

/* By the name, in which a compressed file's last ending does not count. */
static int read_documents(struct reader *r, bool compressed, struct err *e)
{
    const char *name = r->file->path;
    size_t length = strlen(name), inner = before(name, length, ".gz"), k = 0;
    if (!inner) inner = before(name, length, ".zst");
    if (compressed && inner) length = inner;
    while (!before(name, length, kinds[k].ending)) k++;
    if (kinds[k].marks && r->end - r->at >= 3 && !memcmp(r->at, "\xef\xbb\xbf", 3)) r->at += 3;
    return kinds[k].read(r, e);
}

/* What a person named must be of use; of what a folder holds it is said why it is not. */
static int leave(const struct walk *w, struct packed_file *file, bool named, const char *why, struct err *e)
{
    if (named) return err_set(e, "%s: is not text but %s", file->path, why);
    file->left = arena_text(w->made->arena, "%s", why);
    return 0;
}

/* What a message says behind the file's name. */
static const char *without_name(const struct packed_file *file, const char *text)
{
    text += strlen(file->path) + 1;
    return text + (*text == ' ');
}

static int take_apart(const struct walk *w, struct packed_file *file, const struct map *m, bool compressed, bool named, struct err *e)
{
    struct reader r = { .walk = w, .file = file, .at = (const char *)m->bytes, .end = (const char *)m->bytes + m->size };
    int failed = m->size ? read_documents(&r, compressed, e) : 0;
    if (failed && !named && !file->documents && !w->options->strict) {
        file->left = arena_text(w->made->arena, "%s", without_name(file, e->text));
        failed = 0;
    }
    jsontext_free(&r.json);
    free(r.text.bytes);
    if (failed || file->documents || file->left) return failed;
    if (!file->skipped) file->left = "it holds no text";
    else if (named) return err_set(e, "%s (and so with all %llu)", file->skip[0], (unsigned long long)file->skipped);
    else file->left = without_name(file, file->skip[0]);
    return 0;
}

static bool same(const struct stat *a, const struct stat *b) { return a->st_dev == b->st_dev && a->st_ino == b->st_ino; }

/* s: NULL: a pipe. */
static int walk_file(const struct walk *w, const char *path, const struct stat *s, bool named, struct err *e)
{
    struct packed_file *file = packed_add(w->made, path);
    struct map m;
    bool compressed = false;
    if (s ? regular_map(&m, path, e) : piped_map(&m, path, e)) return err_prefix(e, "%s: ", path);
    if (s && w->replaces && same(s, &w->output) && (named || !tokens_magic(&m))) {
        regular_unmap(&m);
        return err_set(e, "%s: is an input, and what is packed would be written over it: give another file with -o", path);
    }
    int failed = inflate_map(&m, w->folder, &compressed, &w->made->cause, e) ? err_prefix(e, "%s: ", path) : 0;
    const char *other = failed ? NULL : sniff_other(&m);
    if (other) failed = leave(w, file, named, other, e);
    else if (!failed) failed = take_apart(w, file, &m, compressed, named, e);
    if (!failed) failed = regular_whole(&m, e);
    regular_unmap(&m);
    return failed;
}

static int entries(const struct dirent *d) { return strcmp(d->d_name, ".") && strcmp(d->d_name, ".."); }

/* strcmp, not alphasort: the order must not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int walk(const struct walk *w, const char *path, int depth, struct err *e);

static int walk_folder(const struct walk *w, const char *path, int depth, struct err *e)
{
    enum { DEEPEST = 40 };
    struct dirent **entry;
    if (depth > DEEPEST) return err_set(e, "%s: folders lie more than %d deep: a link that leads back?", path, DEEPEST);
    int failed = 0, n = scandir(path, &entry, entries, by_name);
    if (n < 0) return err_set(e, "%s: %s", path, strerror(errno));
    for (int i = 0; i < n; free(entry[i++])) {
        if (failed) continue;
        size_t length = strlen(path);
        char *name = xmalloc(length + strlen(entry[i]->d_name) + 2);
        sprintf(name, "%s%s%s", path, length && path[length - 1] == '/' ? "" : "/", entry[i]->d_name);
        failed = walk(w, name, depth + 1, e);
        free(name);
    }
    free(entry);
    return failed;
}

static int walk(const struct walk *w, const char *path, int depth, struct err *e)
{
    struct stat s;
    bool named = depth == 0;
    if (named && piped_is(path)) return walk_file(w, path, NULL, true, e);      /* in a folder nobody asked for it */
    bool there = stat(path, &s) == 0;
    if (there && same(&s, &w->temporary)) return 0;
    if (!named && strrchr(path, '/')[1] == '.') {
        w->made->hidden++;
        return 0;
    }
    if (!there && (named || errno != ENOENT)) return err_set(e, "%s: %s", path, strerror(errno));
    if (!there) return leave(w, packed_add(w->made, path), named, "a link to what is not there", e);
    if (S_ISDIR(s.st_mode)) return walk_folder(w, path, depth, e);
    if (!named && !S_ISREG(s.st_mode)) return leave(w, packed_add(w->made, path), named, regular_kind(s.st_mode), e);
    return walk_file(w, path, &s, named, e);
}

int inputs_walk(const struct walk *w, const char *path, struct err *e) { return walk(w, path, 0, e); }
