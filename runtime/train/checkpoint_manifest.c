/* The manifest of a checkpoint. Every byte is covered by a hash: those of files with tensors are in the manifest, the
   manifest's at its own end. */
#include "checkpoint_files.h"
#include "base/file.h"
#include "base/regular.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANIFEST_MOST = 1 << 26 };
static const char manifest_file[] = "manifest.json";

char *checkpoint_join(const char *dir, const char *name, const char *suffix)
{
    char *path = text_new("%s/%s%s", dir, name, suffix);
    return path;
}

/* The manifest's last member is the hash of all bytes before it. */
static const char seal[] = ",\"xxh128\":\"", seal_end[] = "\"}\n";
enum { SEAL = sizeof seal - 1 + 32 + sizeof seal_end - 1 };

int checkpoint_seal(const char *folder, json_t *manifest)
{
    struct err e;
    char check[33], *path = checkpoint_join(folder, manifest_file, ""),
         *body = json_dumps(manifest, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    size_t length = strlen(body) - 1;                       /* the closing brace comes after the seal */
    hash_print(hash_bytes(body, length), check);
    struct file *file = file_begin(path, FILE_REGULAR, &e);
    if (file) fprintf(file_stream(file), "%.*s%s%s%s", (int)length, body, seal, check, seal_end);
    int failure = file ? file_commit(file, &e) : -1, cause = errno;
    free(body);
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

json_t *checkpoint_manifest(const char *folder, struct err *e)
{
    size_t size = 0;
    char *path = checkpoint_join(folder, manifest_file, ""), *text = regular_text(path, MANIFEST_MOST, &size, e);
    json_t *j = NULL;
    if (!text) err_prefix(e, "%s: ", path);
    else if (!sealed(text, size)) err_set(e, "%s: damaged (its hash does not match)", path);
    else if (!(j = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL))) err_set(e, "%s: not JSON", path);
    const char *format = json_string_value(json_object_get(j, "format"));
    json_int_t version = json_integer_value(json_object_get(j, "version"));
    bool known = version == CHECKPOINT_WHOLE || version == CHECKPOINT_PARTS;
    if (j && (!format || strcmp(format, "sluice-checkpoint") || !known)) {
        err_set(e, "%s: format %s, version %lld; wanted is sluice-checkpoint, version %d or %d", path,
                format ? format : "?", (long long)version, CHECKPOINT_WHOLE, CHECKPOINT_PARTS);
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
