/* The files of a checkpoint, and its manifest. Every byte is covered by a hash: those of files with tensors are in the
   manifest, the manifest's at its own end. */
#include "checkpoint_files.h"
#include "base/file.h"
#include "base/regular.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, VERSION_PARTS = 2, MANIFEST_MOST = 1 << 26 };
static const char manifest_file[] = "manifest.json";

static json_t *bytes_and_hash(uint64_t bytes, const char *hash)
{
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "xxh128", hash);
}

/* The manifest's last member is the hash of all bytes before it. */
static const char seal[] = ",\"xxh128\":\"", seal_end[] = "\"}\n";
enum { SEAL = sizeof seal - 1 + 32 + sizeof seal_end - 1 };

/* Alone a rank writes the one file; several write parts of it, and the manifest says bytes and hash of both. */
static char *manifest_text(int64_t step, const json_t *trainer_state, const struct answer *parts,
                           const struct checkpoint *c)
{
    char check[33], *text;
    int ranks = comm_here()->ranks;
    json_t *files = json_object();
    for (int r = 0; r < ranks; r++) {
        char *name = checkpoint_state_name(r);
        json_object_set_new(files, name, bytes_and_hash(parts[r].bytes, parts[r].hash));
        free(name);
    }
    json_t *j = json_pack("{s:s, s:i, s:I, s:o, s:o*, s:O}", "format", "sluice-checkpoint", "version",
                          ranks > 1 ? VERSION_PARTS : VERSION, "step", (json_int_t)step, "files", files, "state",
                          ranks > 1 ? bytes_and_hash(c->bytes, c->hash) : NULL, "extra", trainer_state);
    INVARIANT(j, "a checkpoint's manifest cannot be made");
    char *body = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    size_t length = strlen(body) - 1;                       /* the closing brace comes after the seal */
    hash_print(hash_bytes(body, length), check);
    text = text_new("%.*s%s%s%s", (int)length, body, seal, check, seal_end);
    free(body);
    json_decref(j);
    return text;
}

int checkpoint_write_manifest(const char *folder, int64_t step, const json_t *trainer_state,
                              const struct answer *parts, const struct checkpoint *c)
{
    struct err e;
    char *path = checkpoint_join(folder, manifest_file, ""), *text = manifest_text(step, trainer_state, parts, c);
    struct file *file = file_begin(path, FILE_REGULAR, &e);
    if (file) fputs(text, file_stream(file));
    int failure = file ? file_commit(file, &e) : -1, cause = errno;
    free(text);
    free(path);
    errno = cause;
    return failure;
}

static bool sealed(const char *text, size_t size)
{
    char check[33];
    if (size < SEAL) return false;
    const char *tail = text + size - SEAL;
    hash_print(hash_bytes(text, size - SEAL), check);
    return !memcmp(tail, seal, sizeof seal - 1) && !memcmp(tail + sizeof seal - 1, check, 32) &&
           !memcmp(tail + sizeof seal - 1 + 32, seal_end, sizeof seal_end - 1);
}

static json_t *manifest_read(const char *folder, struct err *e)
{
    size_t size = 0;
    char *path = checkpoint_join(folder, manifest_file, ""), *text = regular_text(path, MANIFEST_MOST, &size, e);
    json_t *j = NULL;
    if (!text) err_prefix(e, "%s: ", path);
    else if (!sealed(text, size)) err_set(e, "%s: damaged (its hash does not match)", path);
    else if (!(j = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL))) err_set(e, "%s: not JSON", path);
    const char *format = json_string_value(json_object_get(j, "format"));
    json_int_t version = json_integer_value(json_object_get(j, "version"));
    if (j && (!format || strcmp(format, "sluice-checkpoint") || version < VERSION || version > VERSION_PARTS)) {
        err_set(e, "%s: format %s, version %lld; wanted is sluice-checkpoint, version %d or %d", path,
                format ? format : "?", (long long)version, VERSION, VERSION_PARTS);
        json_decref(j);
        j = NULL;
    }
    free(text);
    free(path);
    return j;
}

bool checkpoint_is(const char *path)
{
    char *manifest = checkpoint_join(path, manifest_file, "");
    bool yes = access(manifest, F_OK) == 0;
    free(manifest);
    return yes;
}

/* verified: every byte, and not only how many they are. */
static int check_file(const char *path, const json_t *said, const struct safetensors *file, bool verified,
                      struct err *e)
{
    char digest[33];
    const char *want = json_string_value(json_object_get(said, "xxh128"));
    if ((json_int_t)safetensors_bytes(file) != json_integer_value(json_object_get(said, "bytes")))
        return err_set(e, "%s: %llu bytes, the manifest says %lld", path, (unsigned long long)safetensors_bytes(file),
                       (long long)json_integer_value(json_object_get(said, "bytes")));
    if (!verified) return 0;
    hash_print(safetensors_hash(file), digest);
    if (want && strcmp(want, digest) == 0) return 0;
    return err_set(e, "%s: damaged (XXH128 %s, the manifest says %s)", path, digest, want ? want : "nothing");
}

/* Those that the manifest names; returns how many, -1: one is not as it says, and none is open. */
static int open_files(const char *folder, json_t *files, int share, int of, struct safetensors **file, struct err *e)
{
    int n = 0, failure = 0;
    const char *name;
    json_t *said;
    json_object_foreach(files, name, said) {
        char *path = checkpoint_join(folder, name, "");
        failure = safetensors_open(&file[n], path, e) || check_file(path, said, file[n], n % of == share, e);
        free(path);
        n++;
        if (failure) break;
    }
    for (int i = 0; i < n && failure; i++) safetensors_close(file[i]);
    return failure ? -1 : n;
}

static int open_tensors(const char *folder, const json_t *manifest, int share, int of, struct safetensors **tensors,
                        struct err *e)
{
    json_t *files = json_object_get(manifest, "files");
    bool parts = json_integer_value(json_object_get(manifest, "version")) == VERSION_PARTS;
    struct safetensors **file = xcalloc(json_object_size(files) + 1, sizeof *file);
    int n = open_files(folder, files, share, of, file, e), failure = n < 0;
    *tensors = NULL;
    if (parts && !failure) failure = safetensors_join(tensors, n, file, e);
    else if (n == 1) *tensors = file[0];
    else if (n >= 0) {
        for (int i = 0; i < n; i++) safetensors_close(file[i]);
        failure = err_set(e, "%s: its manifest names %d files, not one", folder, n);
    }
    free(file);
    return failure ? -1 : 0;
}

/* Of all of the state: bytes and hash. */
static const json_t *state_of(const json_t *manifest)
{
    json_t *state = json_object_get(manifest, "state"), *files = json_object_get(manifest, "files");
    return state ? state : json_object_iter_value(json_object_iter(files));
}

static int open_share(const char *folder, int share, int of, struct safetensors **tensors, struct checkpoint *out,
                      json_t **trainer_state, struct err *e)
{
    json_t *manifest = manifest_read(folder, e);
    *tensors = NULL;
    if (!manifest) return -1;
    int failure = open_tensors(folder, manifest, share, of, tensors, e);
    if (!failure) {
        const char *hash = json_string_value(json_object_get(state_of(manifest), "xxh128"));
        *out = (struct checkpoint){ .step = json_integer_value(json_object_get(manifest, "step")),
                                    .bytes = safetensors_bytes(*tensors) };
        snprintf(out->path, sizeof out->path, "%s", folder);
        snprintf(out->hash, sizeof out->hash, "%s", hash ? hash : "");
        *trainer_state = json_incref(json_object_get(manifest, "extra"));
    }
    json_decref(manifest);
    return failure;
}

int checkpoint_open(const char *folder, struct safetensors **tensors, struct checkpoint *out, json_t **trainer_state,
                    struct err *e)
{
    return open_share(folder, 0, 1, tensors, out, trainer_state, e);
}

int checkpoint_verify(const char *path, struct err *e)
{
    struct checkpoint c;
    struct safetensors *tensors;
    json_t *trainer_state;
    if (checkpoint_open(path, &tensors, &c, &trainer_state, e)) return -1;
    json_decref(trainer_state);
    safetensors_close(tensors);
    return 0;
}

const char *checkpoint_part(const char *path)
{
    static const char *const parts[] = { "optim", "average", "copy", "guard" };
    for (int i = 0; i < COUNT(parts); i++) {
        size_t length = strlen(parts[i]);
        if (strncmp(path, parts[i], length) == 0 && path[length] == '.') return parts[i];
    }
    return "model";
}

static int same_tensor(const struct stored *have, const struct stored *want, struct err *e)
{
    char a[192], b[192];
    stored_text(have, a);
    stored_text(want, b);
    return strcmp(a, b) ? err_set(e, "'%s' is %s, the model's is %s", want->name, a, b) : 0;
}

static const char *hint(const char *name, const char *const *names, char out[256])
{
    const char *near = nearest_name(name, names);
    out[0] = 0;
    if (near) snprintf(out, 256, " (nearest: '%s')", near);
    return out;
}

/* The same set of paths, each with the same type and shape. */
static int compare(const struct safetensors *s, const struct leaves *leaves, struct err *e)
{
    int n = safetensors_count(s), wanted = 0, failure = 0;
    const char **have = xcalloc((size_t)n + 1, sizeof *have), **want = xcalloc((size_t)leaves->n + 1, sizeof *want);
    char near[256];
    for (int i = 0; i < n; i++) have[i] = safetensors_tensor(s, i)->name;
    for (int i = 0; i < leaves->n; i++) if (leaf_is_saved(leaves->leaf[i])) want[wanted++] = leaves->leaf[i]->path;
    for (int i = 0; i < leaves->n && !failure; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (!leaf_is_saved(l)) continue;
        struct stored t = checkpoint_tensor(l);
        const struct stored *found = safetensors_find(s, l->path);
        failure = found ? same_tensor(found, &t, e) : err_set(e, "has no '%s'%s", l->path, hint(l->path, have, near));
    }
    for (int i = 0; i < n && !failure; i++) {
        const struct leaf *l = leaves_find(leaves, have[i]);
        if (!l || !leaf_is_saved(l))
            failure = err_set(e, "holds '%s', which the model does not have%s", have[i], hint(have[i], want, near));
    }
    free(have);
    free(want);
    return failure;
}

int checkpoint_open_for(const char *folder, int share, int of, const struct leaves *leaves,
                        struct safetensors **tensors, struct checkpoint *out, json_t **trainer_state, struct err *e)
{
    if (open_share(folder, share, of, tensors, out, trainer_state, e)) return -1;
    if (compare(*tensors, leaves, e) == 0) return 0;
    json_decref(*trainer_state);
    safetensors_close(*tensors);
    *trainer_state = NULL;
    *tensors = NULL;
    return err_prefix(e, "%s: ", folder);
}
