/* Files of pieces as one. Each says in its metadata, as texts, the tensors whose pieces it has, as the header of the
   one file would have them, and where each piece begins. */
#include "safetensors_private.h"

#include <stdlib.h>
#include <string.h>

static const char whole_key[] = "sluice.whole", begin_key[] = "sluice.begin";

bool safetensors_is_part(const struct safetensors *s) { return safetensors_about(s, whole_key) != NULL; }

static void set_text(json_t *about, const char *key, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    json_object_set_new(about, key, json_string(text));
    free(text);
    json_decref(value);
}

json_t *safetensors_about_pieces(int n, const struct stored *whole, const struct box *piece)
{
    json_t *about = json_object(), *tensors = json_object(), *begins = json_object();
    for (int i = 0; i < n; i++) {
        json_t *begin = json_array();
        for (int d = 0; d < piece[i].rank; d++) json_array_append_new(begin, json_integer(piece[i].begin[d]));
        json_object_set_new(tensors, whole[i].name, stored_json(&whole[i]));
        json_object_set_new(begins, whole[i].name, begin);
    }
    set_text(about, whole_key, tensors);
    set_text(about, begin_key, begins);
    return about;
}

/* A piece, and the tensor that it is of. */
struct found { struct stored whole; struct piece piece; };

static int read_found(struct found *f, const struct stored *t, const json_t *tensor, const json_t *begin, struct err *e)
{
    if (stored_read(&f->whole, t->name, tensor, e)) return -1;
    if (strcmp(f->whole.dtype, t->dtype) || f->whole.rank != t->rank || json_array_size(begin) != (size_t)t->rank)
        return err_set(e, "'%s': is no piece of what it is said to be of", t->name);
    f->whole.dtype = t->dtype;
    f->piece.box = stored_box(t);
    for (int d = 0; d < t->rank; d++) {
        const json_t *at = json_array_get(begin, (size_t)d);
        json_int_t first = json_is_integer(at) ? json_integer_value(at) : -1;
        if (first < 0 || first > f->whole.dim[d] - t->dim[d])
            return err_set(e, "'%s': its piece does not lie within it", t->name);
        f->piece.box.begin[d] = first;
    }
    return 0;
}

static json_t *about_read(const struct safetensors *s, const char *key)
{
    const char *text = safetensors_about(s, key);
    return text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

/* Those of one file; returns how many, -1: it does not say what they are. */
static int find(const struct safetensors *part, struct found *to, struct err *e)
{
    json_t *whole = about_read(part, whole_key), *begin = about_read(part, begin_key);
    int failure = 0;
    for (int i = 0; i < part->n && !failure; i++) {
        const char *name = part->tensor[i].name;
        to[i].piece.data = part->piece[i].data;
        failure = read_found(&to[i], &part->tensor[i], json_object_get(whole, name), json_object_get(begin, name), e);
    }
    json_decref(whole);
    json_decref(begin);
    return failure ? err_prefix(e, "%s: ", part->path) : part->n;
}

/* In the order of the one file. */
static int in_order(const void *a, const void *b)
{
    const struct stored *x = &((const struct found *)a)->whole, *y = &((const struct found *)b)->whole;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Every place of a tensor lies in one of its pieces. */
static int check_tensor(const struct safetensors *s, int i, struct err *e)
{
    const struct stored *t = &s->tensor[i];
    const struct box all = stored_box(t);
    int64_t left = box_count(&all);
    for (int k = s->first[i]; k < s->first[i + 1]; k++) {
        left -= box_count(&s->piece[k].box);
        for (int other = s->first[i]; other < k; other++)
            if (box_meets(&s->piece[k].box, &s->piece[other].box))
                return err_set(e, "'%s': two pieces hold the same place", t->name);
    }
    return left ? err_set(e, "'%s': %lld of its values are in no piece", t->name, (long long)left) : 0;
}

static bool same_tensor(const struct stored *a, const struct stored *b)
{
    return !strcmp(a->name, b->name) && !strcmp(a->dtype, b->dtype) && a->rank == b->rank && a->offset == b->offset &&
           !memcmp(a->dim, b->dim, sizeof a->dim);
}

static int check_names(const struct safetensors *s, struct err *e)
{
    json_t *names = json_object();
    int failure = 0;
    for (int i = 0; i < s->n && !failure; i++) {
        if (json_object_get(names, s->tensor[i].name))
            failure = err_set(e, "'%s': its pieces disagree on what it is", s->tensor[i].name);
        json_object_set_new(names, s->tensor[i].name, json_true());
    }
    json_decref(names);
    return failure;
}

static int gather(struct safetensors *s, int n, struct found *f, struct err *e)
{
    uint64_t size = 0;
    qsort(f, (size_t)n, sizeof *f, in_order);
    for (int k = 0; k < n; k++) {
        if (!s->n || !same_tensor(&f[k].whole, &s->tensor[s->n - 1])) {
            size += f[k].whole.bytes;
            s->tensor[s->n++] = f[k].whole;
        }
        s->piece[k] = f[k].piece;
        s->first[s->n] = k + 1;
    }
    if (check_names(s, e) || safetensors_check_cover(s, size, e)) return -1;
    for (int i = 0; i < s->n; i++) if (check_tensor(s, i, e)) return -1;
    s->head = s->made_head = safetensors_header(s->n, s->tensor, NULL, &s->head_bytes);
    return 0;
}

int safetensors_join(struct safetensors **out, int n, struct safetensors *const *file, struct err *e)
{
    struct safetensors *s = xcalloc(1, sizeof *s);
    int most = 0, pieces = 0, more = 0;
    s->part = xcalloc((size_t)n + 1, sizeof *s->part);
    for (int i = 0; i < n; i++) most += (s->part[s->n_parts++] = file[i])->n;
    struct found *f = xcalloc((size_t)most + 1, sizeof *f);
    s->tensor = xcalloc((size_t)most + 1, sizeof *s->tensor);
    s->piece = xcalloc((size_t)most + 1, sizeof *s->piece);
    s->first = xcalloc((size_t)most + 1, sizeof *s->first);
    for (int i = 0; i < n && more >= 0; i++, pieces += more) more = find(s->part[i], f + pieces, e);
    int failure = more < 0 || gather(s, pieces, f, e);
    free(f);
    *out = failure ? NULL : s;
    if (failure) safetensors_close(s);
    return failure ? -1 : 0;
}
