/* Files and folders that are packed: what is walked, what is left and why. */
#include "documents.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static int read_documents(const struct walk *w, struct packed_file *file, const struct map *m, bool compressed,
                          bool named, struct err *e)
{
    const char *bytes = (const char *)m->bytes;
    struct documents d = { .walk = w, .file = file, .at = bytes, .end = m->size ? bytes + m->size : bytes };
    int failed = m->size ? documents_read(&d, compressed, e) : 0;
    if (failed && !named && !file->documents && !w->options->strict) {
        file->left = arena_text(w->made->arena, "%s", without_name(file, e->text));
        failed = 0;
    }
    documents_free(&d);
    if (failed || file->documents || file->left) return failed;
    if (!file->skipped) file->left = "it holds no text";
    else if (named) return err_set(e, "%s (and so with all %llu)", file->skip[0], (unsigned long long)file->skipped);
    else file->left = without_name(file, file->skip[0]);
    return 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* s: NULL: a pipe. */
static int walk_file(const struct walk *w, const char *path, const struct stat *s, bool named, struct err *e)
{
    struct packed_file *file = packed_add(w->made, path);
    struct map m;
    bool compressed = false;
    if (s ? regular_map(&m, path, e) : piped_map(&m, path, &w->made->cause, e)) return err_prefix(e, "%s: ", path);
    if (s && w->replaces && same(s, &w->output) && (named || !tokens_magic(&m))) {
        regular_unmap(&m);
        return packed_over(path, e);
    }
    int failed = inflate_map(&m, w->folder, &compressed, &w->made->cause, e) ? err_prefix(e, "%s: ", path) : 0;
    const char *other = failed ? NULL : sniff_other(&m);
    if (!failed && !other && w->examples && !documents_json(path, compressed)) {
        if (named) failed = err_set(e, "%s: is no JSON: --answers reads .jsonl, .ndjson and .json", path);
        else failed = leave(w, file, named, "no JSON", e);
    } else if (other) failed = leave(w, file, named, other, e);
    else if (!failed) failed = read_documents(w, file, &m, compressed, named, e);
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
