/* safetensors, read strictly and written plainly. */
#include "safetensors_private.h"
#include "base/float_log.h"
#include "base/hashing.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MOST = 100 * 1000 * 1000 };

static size_t dtype_bytes(const char *dtype)
{
    static const struct { const char *name; size_t bytes; } known[] = {
        { "F64", 8 }, { "F32", 4 }, { "F16", 2 }, { "BF16", 2 }, { "I64", 8 }, { "I32", 4 }, { "I16", 2 }, { "I8", 1 },
        { "U64", 8 }, { "U32", 4 }, { "U16", 2 }, { "U8", 1 }, { "BOOL", 1 },
    };
    for (int i = 0; i < COUNT(known); i++) if (strcmp(known[i].name, dtype) == 0) return known[i].bytes;
    return 0;
}

static bool natural(const json_t *j, uint64_t *value)
{
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *value = (uint64_t)json_integer_value(j);
    return true;
}

int stored_read(struct stored *t, const char *name, const json_t *j, struct err *e)
{
    const json_t *shape = json_object_get(j, "shape"), *offsets = json_object_get(j, "data_offsets");
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    uint64_t bytes = dtype ? dtype_bytes(dtype) : 0, dim, end;
    if (json_object_size(j) != 3 || !bytes)
        return err_set(e, "'%s': dtype '%s' is not known or keys are missing", name, dtype ? dtype : "");
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_RANK)
        return err_set(e, "'%s': shape is not a list of at most %d sizes", name, SAFETENSORS_RANK);
    *t = (struct stored){ .name = name, .dtype = dtype, .rank = (int)json_array_size(shape) };
    for (int i = 0; i < t->rank; i++) {
        if (!natural(json_array_get(shape, (size_t)i), &dim) || __builtin_mul_overflow(bytes, dim, &bytes))
            return err_set(e, "'%s': size %d of the shape is out of range", name, i);
        t->dim[i] = (int64_t)dim;
    }
    if (json_array_size(offsets) != 2 || !natural(json_array_get(offsets, 0), &t->offset) ||
        !natural(json_array_get(offsets, 1), &end) || end < t->offset)
        return err_set(e, "'%s': data_offsets are not [begin, end]", name);
    t->bytes = end - t->offset;
    if (t->bytes != bytes)
        return err_set(e, "'%s': data_offsets span %llu bytes, shape and dtype need %llu", name,
                       (unsigned long long)t->bytes, (unsigned long long)bytes);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct stored *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

int safetensors_check_cover(const struct safetensors *s, uint64_t size, struct err *e)
{
    uint64_t at = 0;
    for (int i = 0; i < s->n; i++) {
        const struct stored *t = &s->tensor[i];
        if (t->offset != at)
            return err_set(e, "'%s': begins at %llu, the data before it ends at %llu", t->name,
                           (unsigned long long)t->offset, (unsigned long long)at);
        at += t->bytes;
        if (at > size)
            return err_set(e, "'%s': ends at %llu of %llu bytes", t->name, (unsigned long long)at,
                           (unsigned long long)size);
    }
    return at == size ? 0 : err_set(e, "%llu bytes follow the last tensor", (unsigned long long)(size - at));
}

static int header_read(struct safetensors *s, struct err *e)
{
    uint64_t length;
    json_error_t where;
    if (s->map.size < sizeof length) return err_set(e, "%zu bytes: too short for a header", s->map.size);
    memcpy(&length, s->map.bytes, sizeof length);
    length = le64toh(length);
    if (length > HEADER_MOST)
        return err_set(e, "header of %llu bytes, at most %d are read", (unsigned long long)length, HEADER_MOST);
    if (length > s->map.size - sizeof length)
        return err_set(e, "header of %llu bytes in a file of %zu", (unsigned long long)length, s->map.size);
    s->head = (const char *)s->map.bytes;
    s->head_bytes = sizeof length + length;
    s->header = json_loadb((const char *)s->map.bytes + sizeof length, length, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(s->header))
        return err_set(e, "header: %s at byte %d", s->header ? "not an object" : where.text, where.position);
    s->tensor = xcalloc(json_object_size(s->header) + 1, sizeof *s->tensor);
    const char *name;
    json_t *value;
    json_object_foreach(s->header, name, value) {
        if (strcmp(name, "__metadata__") == 0) continue;
        if (stored_read(&s->tensor[s->n], name, value, e) < 0) return -1;
        s->n++;
    }
    qsort(s->tensor, (size_t)s->n, sizeof *s->tensor, by_offset);
    return safetensors_check_cover(s, s->map.size - s->head_bytes, e);
}

/* Each tensor is the one piece of itself. */
static void find_pieces(struct safetensors *s)
{
    s->piece = xcalloc((size_t)s->n + 1, sizeof *s->piece);
    s->first = xcalloc((size_t)s->n + 1, sizeof *s->first);
    for (int i = 0; i < s->n; i++) {
        s->piece[i] = (struct piece){ stored_box(&s->tensor[i]), s->head + s->head_bytes + s->tensor[i].offset };
        s->first[i + 1] = i + 1;
    }
}

int safetensors_open(struct safetensors **out, const char *path, struct err *e)
{
    struct safetensors *s = xcalloc(1, sizeof *s);
    s->path = xstrdup(path);
    *out = NULL;
    if (regular_map(&s->map, path, e) < 0 || header_read(s, e) < 0) {
        safetensors_close(s);
        return err_prefix(e, "%s: ", path);
    }
    find_pieces(s);
    *out = s;
    return 0;
}

void safetensors_close(struct safetensors *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_parts; i++) safetensors_close(s->part[i]);
    regular_unmap(&s->map);
    json_decref(s->header);
    free(s->path);
    free(s->made_head);
    free(s->tensor);
    free(s->piece);
    free(s->first);
    free(s->part);
    free(s);
}

int safetensors_count(const struct safetensors *s) { return s->n; }
const struct stored *safetensors_tensor(const struct safetensors *s, int i) { return &s->tensor[i]; }

void safetensors_read(const struct safetensors *s, const struct stored *t, const struct box *of, void *to)
{
    const int i = (int)(t - s->tensor);
    const struct box all = stored_box(t);
    for (int k = s->first[i]; k < s->first[i + 1]; k++)
        box_copy(&s->piece[k].box, s->piece[k].data, of ? of : &all, to, dtype_bytes(t->dtype));
}

/* A tensor of several pieces comes by some of its rows at a time. */
static void hash_tensor(const struct safetensors *s, int i, struct hashing *h)
{
    enum { AT_ONCE = 1 << 20 };
    const struct stored *t = &s->tensor[i];
    if (s->first[i + 1] - s->first[i] == 1) { hashing_add(h, s->piece[s->first[i]].data, t->bytes); return; }
    if (t->bytes == 0) return;
    struct box some = stored_box(t);
    int64_t rows = t->dim[0], row = (int64_t)t->bytes / rows, most = row < AT_ONCE ? AT_ONCE / row : 1;
    void *data = xmalloc((size_t)(most * row));
    for (; some.begin[0] < rows; some.begin[0] += most) {
        some.extent[0] = rows - some.begin[0] < most ? rows - some.begin[0] : most;
        safetensors_read(s, t, &some, data);
        hashing_add(h, data, (size_t)(some.extent[0] * row));
    }
    free(data);
}

struct hash safetensors_hash(const struct safetensors *s)
{
    struct hashing *h = hashing_begin();
    hashing_add(h, s->head, s->head_bytes);
    for (int i = 0; i < s->n; i++) hash_tensor(s, i, h);
    return hashing_end(h);
}

uint64_t safetensors_bytes(const struct safetensors *s)
{
    uint64_t bytes = s->head_bytes;
    for (int i = 0; i < s->n; i++) bytes += s->tensor[i].bytes;
    return bytes;
}

const struct stored *safetensors_find(const struct safetensors *s, const char *name)
{
    for (int i = 0; i < s->n; i++) if (strcmp(s->tensor[i].name, name) == 0) return &s->tensor[i];
    return NULL;
}

struct stored stored_new(const char *name, const char *dtype, struct shape shape)
{
    struct stored t = { .name = name, .dtype = dtype, .rank = shape.rank };
    for (int i = 0; i < t.rank; i++) t.dim[i] = shape.dim[i];
    t.bytes = (uint64_t)shape_count(shape) * dtype_bytes(dtype);
    return t;
}

struct box stored_box(const struct stored *t)
{
    struct box b = { .rank = t->rank };
    memcpy(b.extent, t->dim, sizeof b.extent);
    return b;
}

struct shape stored_shape(const struct stored *t)
{
    struct shape s = { .rank = t->rank <= SHAPE_RANK ? t->rank : 0 };
    for (int i = 0; i < s.rank; i++) s.dim[i] = t->dim[i];
    return s;
}

const char *stored_text(const struct stored *t, char out[192])
{
    int n = snprintf(out, 192, "%s [", t->dtype);
    for (int i = 0; i < t->rank; i++)
        n += snprintf(out + n, (size_t)(192 - n), "%s%lld", i ? "," : "", (long long)t->dim[i]);
    snprintf(out + n, (size_t)(192 - n), "]");
    return out;
}

const char *safetensors_about(const struct safetensors *s, const char *key)
{
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}

/* ---- values ---- */

static float half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float value = exponent ? ldexpf((float)(1024 + mantissa), exponent - 25) : ldexpf((float)mantissa, -24);
    if (exponent == 31) value = mantissa ? NAN : INFINITY;
    return bits >> 15 ? -value : value;
}

static uint16_t half_bits(float value)
{
    int sign = signbit(value) ? 0x8000 : 0, exponent;
    if (!isfinite(value)) return (uint16_t)(sign | (isnan(value) ? 0x7e00 : 0x7c00));
    frexpf(value, &exponent);
    if (value == 0 || exponent < -13) exponent = -13;                       /* subnormal ones have one step, 2^-24 */
    int bits = ((exponent + 13) << 10) + (int)rintf(ldexpf(fabsf(value), 11 - exponent));
    return (uint16_t)(sign | (bits < 0x7c00 ? bits : 0x7c00));
}

static uint16_t brain_bits(float value)
{
    uint32_t bits = bits_of_float(value);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float *safetensors_floats(const struct safetensors *s, const struct stored *t, struct err *e)
{
    bool whole = strcmp(t->dtype, "F32") == 0, brain = strcmp(t->dtype, "BF16") == 0;
    if (!whole && !brain && strcmp(t->dtype, "F16") != 0) {
        err_set(e, "'%s' has values of %s: F32, BF16 and F16 are read", t->name, t->dtype);
        return NULL;
    }
    uint64_t n = t->bytes / (whole ? sizeof(float) : sizeof(uint16_t));
    float *value = xmalloc(n * sizeof *value + 1);
    uint16_t *bits = whole ? NULL : xmalloc(t->bytes + 1);
    safetensors_read(s, t, NULL, whole ? (void *)value : bits);
    for (uint64_t i = 0; i < n && !whole; i++)
        value[i] = brain ? float_of_bits((uint32_t)bits[i] << 16) : half_value(bits[i]);
    free(bits);
    return value;
}

int64_t safetensors_narrow(const char *dtype, const float *from, int64_t n, void *to)
{
    int64_t lost = -1;
    bool brain = *dtype == 'B';
    if (strcmp(dtype, "F32") == 0) {
        memcpy(to, from, (size_t)n * sizeof *from);
        return -1;
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        uint16_t bits = brain ? brain_bits(from[i]) : half_bits(from[i]);
        bool infinite = (bits & 0x7fff) == (brain ? 0x7f80 : 0x7c00);
        memcpy((char *)to + 2 * i, &bits, sizeof bits);
        if (infinite && isfinite(from[i])) lost = i;
    }
    return lost;
}

/* ---- writing ---- */

json_t *stored_json(const struct stored *t)
{
    json_t *shape = json_array();
    for (int k = 0; k < t->rank; k++) json_array_append_new(shape, json_integer(t->dim[k]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape, "data_offsets",
                     (json_int_t)t->offset, (json_int_t)(t->offset + t->bytes));
}

char *safetensors_header(int n, struct stored *tensor, const json_t *about, size_t *bytes)
{
    uint64_t at = 0;
    json_t *header = json_object();
    if (about) json_object_set(header, "__metadata__", (json_t *)about);
    for (int i = 0; i < n; i++) {
        struct stored *t = &tensor[i];
        t->offset = at;
        at += t->bytes;
        int clash = json_object_get(header, t->name) != NULL ||
                    json_object_set_new(header, t->name, stored_json(t));
        INVARIANT(!clash, "two tensors are named '%s'", t->name);
    }
    char *json = json_dumps(header, JSON_COMPACT);
    size_t length = strlen(json), padded = (length + 7) / 8 * 8;             /* the data begins at a multiple of 8 */
    char *out = xmalloc(sizeof(uint64_t) + padded);
    uint64_t stored = htole64(padded);
    memcpy(out, &stored, sizeof stored);
    memset(out + sizeof stored, ' ', padded);
    memcpy(out + sizeof stored, json, length);
    *bytes = sizeof stored + padded;
    free(json);
    json_decref(header);
    return out;
}
