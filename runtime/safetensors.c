/* Reading maps the file and trusts nothing; writing streams and syncs. */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_HEADER = 100 * 1000 * 1000, LENGTH = 8 };

static const struct { const char *name; uint64_t bytes; } types[] = { { "F64", 8 }, { "F32", 4 }, { "BF16", 2 }, { "F16", 2 }, { "I64", 8 }, { "I32", 4 }, { "I16", 2 }, { "I8", 1 }, { "U8", 1 }, { "BOOL", 1 } };

static uint64_t type_bytes(const char *dtype)
{
    for (int i = 0; dtype && i < COUNT(types); i++) if (strcmp(types[i].name, dtype) == 0) return types[i].bytes;
    return 0;
}

/* ---- reading ---- */

static int read_shape(struct stored *t, const json_t *shape, struct err *e)
{
    if (!json_is_array(shape) || json_array_size(shape) > COUNT(t->dim)) return err_set(e, "%s: the shape is no list of at most %d sizes", t->name, COUNT(t->dim));
    uint64_t count = 1;
    t->rank = (int)json_array_size(shape);
    for (int i = 0; i < t->rank; i++) {
        t->dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
        if (t->dim[i] < 0 || __builtin_mul_overflow(count, (uint64_t)t->dim[i], &count)) return err_set(e, "%s: the shape is too large", t->name);
    }
    if (__builtin_mul_overflow(count, type_bytes(t->dtype), &count) || count != t->bytes)
        return err_set(e, "%s: %llu bytes are stored, shape times type is %llu", t->name, (unsigned long long)t->bytes, (unsigned long long)count);
    return 0;
}

static int read_entry(struct stored *t, const json_t *entry, const char *body, uint64_t room, struct err *e)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    json_int_t from = json_integer_value(json_array_get(offsets, 0)), to = json_integer_value(json_array_get(offsets, 1));
    t->dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!type_bytes(t->dtype)) return err_set(e, "%s: type '%s' is not known", t->name, t->dtype ? t->dtype : "none");
    if (json_array_size(offsets) != 2 || from < 0 || to < from || (uint64_t)to > room)
        return err_set(e, "%s: bytes %lld to %lld do not lie in the %llu that the file holds", t->name, (long long)from, (long long)to, (unsigned long long)room);
    t->bytes = (uint64_t)(to - from);
    t->data = body + from;
    return read_shape(t, json_object_get(entry, "shape"), e);
}

static int by_place(const void *a, const void *b)
{
    const struct stored *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int read_all(struct safetensors *s, struct err *e)
{
    uint64_t length;
    json_error_t why;
    if (s->size < LENGTH) return err_set(e, "has %zu bytes, the header's length alone takes %d", s->size, LENGTH);
    memcpy(&length, s->map, LENGTH);
    if (length > MOST_HEADER || length > s->size - LENGTH) return err_set(e, "a header of %llu bytes in a file of %zu (at most %d)", (unsigned long long)length, s->size, MOST_HEADER);
    const char *body = (const char *)s->map + LENGTH + length, *name;
    uint64_t room = s->size - LENGTH - length;
    s->header = json_loadb((const char *)s->map + LENGTH, length, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(s->header)) return err_set(e, "the header is no JSON table: %s", why.text);
    s->tensor = xcalloc(json_object_size(s->header) + 1, sizeof *s->tensor);
    json_t *entry;
    json_object_foreach(s->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        s->tensor[s->n].name = name;
        if (read_entry(&s->tensor[s->n++], entry, body, room, e)) return -1;
    }
    qsort(s->tensor, (size_t)s->n, sizeof *s->tensor, by_place);
    const char *next = body;
    for (int i = 0; i < s->n; i++) {
        if (s->tensor[i].data != next) return err_set(e, "%s: a gap or an overlap before it", s->tensor[i].name);
        next += s->tensor[i].bytes;
    }
    return next == body + room ? 0 : err_set(e, "%llu bytes belong to no tensor", (unsigned long long)(body + room - next));
}

int safetensors_open(struct safetensors *s, const char *path, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *s = (struct safetensors){ 0 };
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(e, "%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    s->size = (size_t)st.st_size;
    s->map = s->size ? mmap(NULL, s->size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    close(fd);
    if (s->map == MAP_FAILED) { s->map = NULL; return err_set(e, "%s: cannot be mapped: %s", path, strerror(errno)); }
    if (read_all(s, e) == 0) return 0;
    err_prefix(e, "%s: ", path);
    safetensors_close(s);
    return -1;
}

void safetensors_close(struct safetensors *s)
{
    if (s->map) munmap(s->map, s->size);
    json_decref(s->header);
    free(s->tensor);
    *s = (struct safetensors){ 0 };
}

const struct stored *safetensors_find(const struct safetensors *s, const char *name)
{
    for (int i = 0; i < s->n; i++) if (strcmp(s->tensor[i].name, name) == 0) return &s->tensor[i];
    return NULL;
}

/* ---- writing ---- */

static char *header_of(int n, const struct stored *tensor)
{
    json_t *header = json_object();
    uint64_t at = 0;
    for (int i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int k = 0; k < tensor[i].rank; k++) json_array_append_new(shape, json_integer(tensor[i].dim[k]));
        json_object_set_new(header, tensor[i].name, json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor[i].dtype, "shape", shape, "data_offsets", (json_int_t)at, (json_int_t)(at + tensor[i].bytes)));
        at += tensor[i].bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    return text;
}

static bool put(FILE *file, const void *data, size_t bytes) { return fwrite(data, 1, bytes, file) == bytes; }

int safetensors_write(const char *path, int n, const struct stored *tensor, void (*fetch)(void *state, int i, void *to), void *state, uint64_t *bytes, struct hash *hash, struct err *e)
{
    char *header = header_of(n, tensor);
    static const char spaces[LENGTH] = "        ";
    uint64_t length = strlen(header), padded = (length + LENGTH - 1) / LENGTH * LENGTH;
    FILE *file = fopen(path, "wb");
    bool good = file && put(file, &padded, LENGTH) && put(file, header, length) && put(file, spaces, padded - length);
    for (int i = 0; good && i < n; i++) {
        void *data = xmalloc(tensor[i].bytes + 1);
        fetch(state, i, data);
        good = put(file, data, tensor[i].bytes);
        free(data);
    }
    good = good && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int saved = errno;
    if (file && fclose(file) != 0 && good) { good = false; saved = errno; }
    free(header);
    if (!good) {
        err_set(e, "%s: cannot be written: %s", path, strerror(saved));
        errno = saved;
        return -1;
    }
    return file_hash(path, bytes, hash, e);
}

int file_hash(const char *path, uint64_t *bytes, struct hash *hash, struct err *e)
{
    enum { BLOCK = 1 << 20 };
    FILE *file = fopen(path, "rb");
    if (!file) return err_set(e, "%s: %s", path, strerror(errno));
    char *block = xmalloc(BLOCK);
    size_t n;
    *bytes = 0;
    *hash = hash_bytes("", 0);
    while ((n = fread(block, 1, BLOCK, file)) > 0) {
        *hash = hash_more(*hash, block, n);
        *bytes += n;
    }
    bool bad = ferror(file);
    fclose(file);
    free(block);
    return bad ? err_set(e, "%s: cannot be read", path) : 0;
}
