/* A checkpoint, written: by every rank what it keeps, and by rank 0 what is to be said of all. */
#include "checkpoint_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static json_t *bytes_and_hash(uint64_t bytes, const char *hash)
{
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "xxh128", hash);
}

/* Alone a rank writes the one file; several write parts of it, and the manifest says bytes and hash of both. */
static json_t *manifest_of(int64_t step, const json_t *trainer_state, const struct answer *parts,
                           const struct checkpoint *c)
{
    int ranks = comm_here()->ranks;
    json_t *files = json_object();
    for (int r = 0; r < ranks; r++) {
        char *name = checkpoint_state_name(r);
        json_object_set_new(files, name, bytes_and_hash(parts[r].bytes, parts[r].hash));
        free(name);
    }
    json_t *state = ranks > 1 ? bytes_and_hash(c->bytes, c->hash) : NULL;
    json_t *j = json_pack("{s:s, s:i, s:I, s:o, s:o*, s:O}", "format", "sluice-checkpoint", "version",
                          ranks > 1 ? CHECKPOINT_PARTS : CHECKPOINT_WHOLE, "step", (json_int_t)step, "files", files,
                          "state", state, "extra", trainer_state);
    INVARIANT(j, "a checkpoint's manifest cannot be made");
    return j;
}

/* Bytes and hash of all of the state: of parts those of the one file that they stand for, which this rank sees them
   as. */
static int measure(const char *folder, const struct answer *parts, struct checkpoint *out, struct err *e)
{
    int n = comm_here()->ranks;
    out->bytes = parts[0].bytes;
    memcpy(out->hash, parts[0].hash, sizeof out->hash);
    if (n == 1) return 0;
    struct safetensors **part = xcalloc((size_t)n, sizeof *part), *all = NULL;
    int failure = 0;
    for (int r = 0; r < n && !failure; r++) {
        char *name = checkpoint_state_name(r), *path = checkpoint_join(folder, name, "");
        failure = safetensors_open(&part[r], path, e);
        if (failure)
            err_prefix(e, "rank 0 does not see what rank %d wrote; all ranks need the file system of the output "
                          "folder: ", r);
        free(path);
        free(name);
    }
    if (failure) for (int r = 0; r < n; r++) safetensors_close(part[r]);
    else failure = safetensors_join(&all, n, part, e);
    if (!failure) {
        hash_print(safetensors_hash(all), out->hash);
        out->bytes = safetensors_bytes(all);
    }
    safetensors_close(all);
    free(part);
    return failure;
}

int checkpoint_write(const char *folder, int64_t step, struct leaves *leaves, struct state *state,
                     const json_t *trainer_state, struct checkpoint *out, struct err *e)
{
    struct answer *parts = xcalloc((size_t)comm_here()->ranks, sizeof *parts);
    int failure = checkpoint_write_all(folder, leaves, state, parts, e) || measure(folder, parts, out, e);
    json_t *manifest = failure ? NULL : manifest_of(step, trainer_state, parts, out);
    if (!failure && checkpoint_seal(folder, manifest)) failure = err_set(e, "%s", strerror(errno));
    int cause = errno;
    json_decref(manifest);
    free(parts);
    errno = cause;
    return failure ? -1 : 0;
}
