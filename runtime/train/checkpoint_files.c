/* The two files of a checkpoint. Every byte is covered by a hash: the tensors' is in the manifest, the manifest's at
   its own end. */
#include "checkpoint_files.h"
#include "base/file.h"
#include "base/regular.h"
#include "base/text.h"
#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, MANIFEST_MOST = 1 << 26 };
static const char state_file[] = "state.safetensors", manifest_file[] = "manifest.json";

char *checkpoint_join(const char *dir, const char *name, const char *suffix)
{
    char *path = text_new("%s/%s%s", dir, name, suffix);
    return path;
}

static const char *leaf_dtype(const struct leaf *l)
{
    return l->decl.dtype == DTYPE_I32 ? "I32" : l->decl.dtype == DTYPE_U8 ? "U8" : sizeof(real) == 8 ? "F64" : "F32";
}

/* As it lies in memory. */
static struct stored tensor_of(const struct leaf *l) { return stored_new(l->path, leaf_dtype(l), l->whole); }

/* Of all that are saved; returns how many. */
static int tensors_of(const struct leaves *leaves, struct stored **tensor)
{
    int n = 0;
    *tensor = xcalloc((size_t)leaves->n + 1, sizeof **tensor);
    for (int i = 0; i < leaves->n; i++) if (leaf_is_saved(leaves->leaf[i])) (*tensor)[n++] = tensor_of(leaves->leaf[i]);
    return n;
}

uint64_t checkpoint_bytes(const struct leaves *leaves)
{
    struct stored *tensor;
    uint64_t bytes = 0;
    size_t header;
    int n = tensors_of(leaves, &tensor);
    free(safetensors_header(n, tensor, NULL, &header));
    for (int i = 0; i < n; i++) bytes += tensor[i].bytes;
    free(tensor);
    return header + bytes;
}

static void put_state(FILE *to, struct leaves *leaves, struct state *state)
{
    struct stored *tensor;
    int n = tensors_of(leaves, &tensor);
    size_t bytes;
    char *header = safetensors_header(n, tensor, NULL, &bytes);
    fwrite(header, 1, bytes, to);
    for (int i = 0; i < leaves->n && !ferror(to); i++) {
        const struct leaf *l = leaves->leaf[i];
        if (!leaf_is_saved(l)) continue;
        void *data = xmalloc(leaf_whole_bytes(l));
        state_get(state, l, data);
        fwrite(data, 1, leaf_whole_bytes(l), to);
        free(data);
    }
    free(header);
    free(tensor);
}

/* The manifest's last member is the hash of all bytes before it. */
static const char seal[] = ",\"xxh128\":\"", seal_end[] = "\"}\n";
enum { SEAL = sizeof seal - 1 + 32 + sizeof seal_end - 1 };

static char *manifest_text(int64_t step, const json_t *trainer_state, uint64_t bytes, const char *digest)
{
    char check[33], *text;
    json_t *j = json_pack("{s:s, s:i, s:I, s:{s:{s:I, s:s}}, s:O}", "format", "sluice-checkpoint", "version", VERSION,
                          "step", (json_int_t)step, "files", state_file, "bytes", (json_int_t)bytes, "xxh128", digest,
                          "extra", trainer_state);
    INVARIANT(j, "a checkpoint's manifest cannot be made");
    char *body = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    size_t length = strlen(body) - 1;                       /* the closing brace comes after the seal */
    hash_print(hash_bytes(body, length), check);
    text = text_new("%.*s%s%s%s", (int)length, body, seal, check, seal_end);
    free(body);
    json_decref(j);
    return text;
}

static int write_state(const char *path, struct leaves *leaves, struct state *state)
{
    struct err e;
    struct file *file = file_begin(path, FILE_REGULAR, &e);
    if (!file) return -1;
    put_state(file_stream(file), leaves, state);
    return file_commit(file, &e);
}

/* Length and hash of the state are those of the file as our own reader takes it. */
static int measure(const char *state_path, struct checkpoint *out)
{
    struct safetensors *written;
    struct err e;
    if (safetensors_open(&written, state_path, &e) < 0) return -1;
    hash_print(safetensors_hash(written), out->hash);
    out->bytes = safetensors_bytes(written);
    safetensors_close(written);
    return 0;
}

static int write_manifest(const char *path, int64_t step, const json_t *trainer_state, const struct checkpoint *c)
{
    struct err e;
    struct file *file = file_begin(path, FILE_REGULAR, &e);
    if (!file) return -1;
    char *text = manifest_text(step, trainer_state, c->bytes, c->hash);
    fputs(text, file_stream(file));
    free(text);
    return file_commit(file, &e);
}

int checkpoint_write(const char *folder, int64_t step, struct leaves *leaves, struct state *state,
                     const json_t *trainer_state, struct checkpoint *out)
{
    char *state_path = checkpoint_join(folder, state_file, ""),
         *manifest_path = checkpoint_join(folder, manifest_file, "");
    int failure = write_state(state_path, leaves, state) || measure(state_path, out) ||
                  write_manifest(manifest_path, step, trainer_state, out);
    free(state_path);
    free(manifest_path);
    return failure ? -1 : 0;
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
    if (j && (!format || strcmp(format, "sluice-checkpoint") || version != VERSION)) {
        err_set(e, "%s: format %s, version %lld; wanted is sluice-checkpoint, version %d", path, format ? format : "?",
                (long long)version, VERSION);
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

static int check_state(const char *path, const json_t *said, const struct safetensors *tensors, struct err *e)
{
    char digest[33];
    const char *want = json_string_value(json_object_get(said, "xxh128"));
    hash_print(safetensors_hash(tensors), digest);
    if ((json_int_t)safetensors_bytes(tensors) != json_integer_value(json_object_get(said, "bytes")))
        return err_set(e, "%s: %llu bytes, the manifest says %lld", path,
                       (unsigned long long)safetensors_bytes(tensors),
                       (long long)json_integer_value(json_object_get(said, "bytes")));
    if (want && strcmp(want, digest) == 0) return 0;
    return err_set(e, "%s: damaged (XXH128 %s, the manifest says %s)", path, digest, want ? want : "nothing");
}

int checkpoint_open(const char *folder, struct safetensors **tensors, struct checkpoint *out, json_t **trainer_state,
                    struct err *e)
{
    json_t *manifest = manifest_read(folder, e);
    *tensors = NULL;
    if (!manifest) return -1;
    const json_t *said = json_object_get(json_object_get(manifest, "files"), state_file);
    char *path = checkpoint_join(folder, state_file, "");
    int failure = safetensors_open(tensors, path, e) || check_state(path, said, *tensors, e);
    if (!failure) {
        *out = (struct checkpoint){ .step = json_integer_value(json_object_get(manifest, "step")),
                                    .bytes = safetensors_bytes(*tensors) };
        snprintf(out->path, sizeof out->path, "%s", folder);
        snprintf(out->hash, sizeof out->hash, "%s", json_string_value(json_object_get(said, "xxh128")));
        *trainer_state = json_incref(json_object_get(manifest, "extra"));
    } else {
        safetensors_close(*tensors);
        *tensors = NULL;
    }
    free(path);
    json_decref(manifest);
    return failure ? -1 : 0;
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
        struct stored t = tensor_of(l);
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

int checkpoint_load(const char *path, struct leaves *leaves, struct state *state, struct checkpoint *out,
                    json_t **trainer_state, struct err *e)
{
    struct safetensors *tensors;
    *trainer_state = NULL;
    if (checkpoint_open(path, &tensors, out, trainer_state, e)) return -1;
    int failure = compare(tensors, leaves, e);
    if (failure) {
        err_prefix(e, "%s: ", path);
        json_decref(*trainer_state);
        *trainer_state = NULL;
    }
    for (int i = 0; i < leaves->n && !failure; i++) {
        const struct leaf *l = leaves->leaf[i];
        if (leaf_is_saved(l)) state_put(state, l, safetensors_data(tensors, safetensors_find(tensors, l->path)));
    }
    safetensors_close(tensors);
    return failure;
}
