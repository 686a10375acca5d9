/* Saving is temporary folder, sync, rename, sync; so a kill at any moment leaves the old checkpoints and no half one. */
#define _GNU_SOURCE
#include "checkpoint.h"
#include "safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4096 };

static bool kept(const struct leaf *l) { return (l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER) && !l->transient; }

static const char *dtype_of(const struct leaf *l) { return l->decl.dtype == DTYPE_I32 ? "I32" : l->decl.dtype == DTYPE_U8 ? "U8" : sizeof(real) == 4 ? "F32" : "F64"; }

static int join(char *path, size_t size, struct err *e, const char *a, const char *b)
{
    return (size_t)snprintf(path, size, "%s/%s", a, b) < size ? 0 : err_set(e, "%s: the path is too long", a);
}

static int sync_folder(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), bad = fd < 0 || fsync(fd) != 0;
    if (bad) err_set(e, "%s: cannot be synced: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return bad ? -1 : 0;
}

/* A checkpoint's folder holds files only. */
static void remove_folder(const char *path)
{
    char file[PATH];
    struct err ignored;
    struct dirent *d;
    DIR *dir = opendir(path);
    while (dir && (d = readdir(dir)))
        if (d->d_name[0] != '.' && join(file, sizeof file, &ignored, path, d->d_name) == 0) unlink(file);
    if (dir) closedir(dir);
    rmdir(path);
}

/* ---- saving ---- */

struct source { struct state *state; const struct leaf **leaf; };

static void fetch(void *context, int i, void *to)
{
    const struct source *s = context;
    state_get(s->state, s->leaf[i], to);
}

static int write_state(const char *path, const struct leaves *l, struct state *state, uint64_t *bytes, struct hash *hash, struct err *e)
{
    struct source source = { state, xcalloc((size_t)l->n + 1, sizeof *source.leaf) };
    struct stored *tensor = xcalloc((size_t)l->n + 1, sizeof *tensor);
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        const struct leaf *leaf = l->leaf[i];
        if (!kept(leaf)) continue;
        source.leaf[n] = leaf;
        tensor[n] = (struct stored){ .name = leaf->path, .dtype = dtype_of(leaf), .rank = leaf->decl.shape.rank, .bytes = leaf_bytes(leaf) };
        memcpy(tensor[n++].dim, leaf->decl.shape.dim, sizeof leaf->decl.shape.dim);
    }
    int failure = safetensors_write(path, n, tensor, fetch, &source, bytes, hash, e);
    free(source.leaf);
    free(tensor);
    return failure;
}

static int write_manifest(const char *path, int64_t step, uint64_t bytes, struct hash hash, const json_t *extra, struct err *e)
{
    char text[33];
    hash_print(hash, text);
    json_t *json = json_pack("{s:s, s:i, s:I, s:{s:{s:I, s:s}}, s:O}", "format", "sluice-checkpoint", "version", CHECKPOINT_VERSION, "step", (json_int_t)step,
                             "files", "state.safetensors", "bytes", (json_int_t)bytes, "xxh128", text, "extra", extra);
    char *body = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    json_decref(json);
    /* The manifest guards itself too: its last line is the hash of what stands above. */
    hash_print(hash_bytes(body, strlen(body)), text);
    FILE *file = fopen(path, "w");
    bool good = file && fprintf(file, "%s\n%s\n", body, text) > 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int saved = errno;
    if (file && fclose(file) != 0 && good) { good = false; saved = errno; }
    free(body);
    errno = saved;
    return good ? 0 : err_set(e, "%s: cannot be written: %s", path, strerror(saved));
}

static int is_checkpoint(const struct dirent *d) { return strncmp(d->d_name, "step-", 5) == 0 && strspn(d->d_name + 5, "0123456789") == strlen(d->d_name + 5); }

/* Zero-padded numbers sort by name, the newest last. */
static void remove_old(const char *dir, int keep)
{
    char path[PATH];
    struct err ignored;
    struct dirent **entry;
    int n = scandir(dir, &entry, is_checkpoint, alphasort);
    for (int i = 0; i < n; i++) {
        if (i < n - keep && join(path, sizeof path, &ignored, dir, entry[i]->d_name) == 0) remove_folder(path);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
}

int checkpoint_save(const char *dir, int64_t step, const struct leaves *l, struct state *s, const json_t *extra, int keep, char *path, size_t path_size, uint64_t *bytes, struct err *e)
{
    char temporary[PATH], file[PATH + 64], name[32];
    struct hash hash;
    snprintf(name, sizeof name, "step-%010lld", (long long)step);
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return err_set(e, "%s: the folder cannot be made: %s", dir, strerror(errno));
    if (join(temporary, sizeof temporary, e, dir, ".new") || join(path, path_size, e, dir, name)) return -1;
    remove_folder(temporary);
    if (mkdir(temporary, 0777) != 0) return err_set(e, "%s: the folder cannot be made: %s", temporary, strerror(errno));
    if (join(file, sizeof file, e, temporary, "state.safetensors") || write_state(file, l, s, bytes, &hash, e)) return -1;
    if (join(file, sizeof file, e, temporary, "manifest.json") || write_manifest(file, step, *bytes, hash, extra, e)) return -1;
    if (sync_folder(temporary, e)) return -1;
    remove_folder(path);                                    /* the same step again, after going on from an older checkpoint */
    if (rename(temporary, path) != 0) return err_set(e, "%s: cannot be renamed: %s", temporary, strerror(errno));
    if (sync_folder(dir, e)) return -1;
    remove_old(dir, keep);
    return 0;
}

/* ---- loading ---- */

static json_t *read_manifest(const char *path, struct err *e)
{
    char file[PATH + 64], text[33], *body = NULL;
    size_t room = 0;
    json_error_t why;
    json_t *json = NULL;
    if (join(file, sizeof file, e, path, "manifest.json")) return NULL;
    FILE *in = fopen(file, "r");
    if (!in) { err_set(e, "%s: %s", file, strerror(errno)); return NULL; }
    ssize_t n = getdelim(&body, &room, 0, in);
    fclose(in);
    const char *format;
    if (n < 34 || body[n - 1] != '\n' || body[n - 34] != '\n') { err_set(e, "%s: is cut short", file); goto out; }
    hash_print(hash_bytes(body, (size_t)n - 34), text);
    if (memcmp(text, body + n - 33, 32) != 0) { err_set(e, "%s: its hash is not that of its content", file); goto out; }
    json = json_loadb(body, (size_t)n - 34, 0, &why);
    format = json_string_value(json_object_get(json, "format"));
    json_int_t version = json_integer_value(json_object_get(json, "version"));
    if (!format || strcmp(format, "sluice-checkpoint") != 0 || version != CHECKPOINT_VERSION) {
        err_set(e, "%s: is '%s' version %lld; this program reads sluice-checkpoint version %d", file, format ? format : "?", (long long)version, CHECKPOINT_VERSION);
        json_decref(json);
        json = NULL;
    }
out:
    free(body);
    return json;
}

static int verify_file(const char *path, const json_t *manifest, struct err *e)
{
    const json_t *entry = json_object_get(json_object_get(manifest, "files"), "state.safetensors");
    const char *wanted = json_string_value(json_object_get(entry, "xxh128"));
    char text[33];
    uint64_t bytes;
    struct hash hash;
    if (file_hash(path, &bytes, &hash, e)) return -1;
    hash_print(hash, text);
    if (bytes != (uint64_t)json_integer_value(json_object_get(entry, "bytes"))) return err_set(e, "%s: has %llu bytes, the manifest says %lld", path, (unsigned long long)bytes, (long long)json_integer_value(json_object_get(entry, "bytes")));
    return wanted && strcmp(wanted, text) == 0 ? 0 : err_set(e, "%s: its hash is %s, the manifest says %s", path, text, wanted ? wanted : "nothing");
}

int checkpoint_verify(const char *path, struct err *e)
{
    char file[PATH + 64];
    json_t *manifest = read_manifest(path, e);
    if (!manifest) return -1;
    int failure = join(file, sizeof file, e, path, "state.safetensors") || verify_file(file, manifest, e);
    json_decref(manifest);
    return failure ? -1 : 0;
}

/* Every leaf has its tensor, and no tensor is left over. */
static int match_tensors(const char *path, const struct leaves *l, const struct safetensors *t, struct err *e)
{
    const char **names = xcalloc((size_t)t->n + 1, sizeof *names);
    int expected = 0, failure = 0;
    for (int i = 0; i < t->n; i++) names[i] = t->tensor[i].name;
    for (int i = 0; i < l->n && !failure; i++) {
        const struct leaf *leaf = l->leaf[i];
        if (!kept(leaf)) continue;
        expected++;
        const struct stored *s = safetensors_find(t, leaf->path);
        const char *near = s ? NULL : nearest_name(leaf->path, names);
        if (!s) failure = err_set(e, "%s: holds no '%s'%s%s%s", path, leaf->path, near ? "; the nearest is '" : "", near ? near : "", near ? "'" : "");
        else if (strcmp(s->dtype, dtype_of(leaf)) != 0 || s->rank != leaf->decl.shape.rank || memcmp(s->dim, leaf->decl.shape.dim, (size_t)s->rank * sizeof *s->dim) != 0) {
            char text[64];
            failure = err_set(e, "%s: '%s' is stored with another shape or type than %s %s", path, leaf->path, dtype_of(leaf), shape_text(leaf->decl.shape, text));
        }
    }
    for (int i = 0; i < t->n && !failure && expected < t->n; i++) {
        const struct leaf *leaf = leaves_find(l, t->tensor[i].name);
        if (!leaf || !kept(leaf)) failure = err_set(e, "%s: holds '%s', which the model does not have", path, t->tensor[i].name);
    }
    free(names);
    return failure;
}

int checkpoint_load(const char *path, const struct leaves *l, struct state *s, int64_t *step, json_t **extra, struct err *e)
{
    char file[PATH + 64];
    struct safetensors tensors;
    json_t *manifest = read_manifest(path, e);
    if (!manifest) return -1;
    int failure = join(file, sizeof file, e, path, "state.safetensors") || verify_file(file, manifest, e) || safetensors_open(&tensors, file, e);
    if (!failure) {
        failure = match_tensors(file, l, &tensors, e);
        for (int i = 0; i < l->n && !failure; i++)
            if (kept(l->leaf[i])) state_put(s, l->leaf[i], safetensors_find(&tensors, l->leaf[i]->path)->data);
        safetensors_close(&tensors);
    }
    *step = json_integer_value(json_object_get(manifest, "step"));
    *extra = json_incref(json_object_get(manifest, "extra"));
    json_decref(manifest);
    return failure ? -1 : 0;
}

int checkpoint_newest(const char *dir, char *path, size_t path_size, struct err *e)
{
    struct dirent **entry;
    int n = scandir(dir, &entry, is_checkpoint, alphasort), found = 0;
    if (n < 0) return errno == ENOENT ? 0 : err_set(e, "%s: %s", dir, strerror(errno));
    for (int i = n - 1; i >= 0; i--) {
        if (!found && join(path, path_size, e, dir, entry[i]->d_name) == 0) {
            if (checkpoint_verify(path, e) == 0) found = 1;
            else fprintf(stderr, "sluice: a checkpoint is passed over: %s\n", e->text);
        }
        free(entry[i]);
    }
    free(entry);
    return found;
}
