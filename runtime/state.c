/* The memory of a model's leaves: one slab a kind, shared by the plans of its graphs. */
#include "state.h"
#include "place.h"

#include <stdlib.h>

static enum format leaf_format(const struct leaf *l)
{
    switch (l->decl.dtype) {
    case DTYPE_I32: return FORMAT_I32;
    case DTYPE_U8:  return FORMAT_U8;
    default:        return FORMAT_REAL;
    }
}

size_t leaf_bytes(const struct leaf *l) { return (size_t)shape_count(l->decl.shape) * element_bytes(leaf_format(l)); }

struct state_bytes state_layout(struct leaves *leaves)
{
    struct state_bytes b = { 0 };
    for (int i = 0; i < leaves->n; i++) {
        struct leaf *l = leaves->leaf[i];
        size_t *slab = l->kind == LEAF_WEIGHT ? &b.weights : l->kind == LEAF_BUFFER ? &b.buffers : &b.inputs;
        if (l->kind == LEAF_GRAD) { l->offset = l->of->offset; b.grads = 1; continue; }
        l->offset = *slab;
        *slab += place_round(leaf_bytes(l));
        l->packed = b.packed;
        b.packed += place_round(l->packed_bytes);
    }
    if (b.grads) b.grads = b.weights;                       /* a gradient lies where its weight does */
    return b;
}

struct state *state_new(struct leaves *l, const struct backend *b, int threads)
{
    struct state *s = xcalloc(1, sizeof *s);
    s->leaves = l;
    s->backend = b;
    s->bytes = state_layout(l);
    s->weights = b->alloc(s->bytes.weights);
    s->packed = b->alloc(s->bytes.packed);
    s->buffers = b->alloc(s->bytes.buffers);
    s->inputs = b->alloc(s->bytes.inputs);
    if (s->bytes.grads) s->grads = b->alloc(s->bytes.grads);
    s->device = b->open(threads);
    return s;
}

void state_want_grads(struct state *s)
{
    if (s->grads) return;
    s->bytes.grads = s->bytes.weights;
    s->grads = s->backend->alloc(s->bytes.grads);
}

void state_free(struct state *s)
{
    if (!s) return;
    s->backend->release(s->weights, s->bytes.weights);
    s->backend->release(s->packed, s->bytes.packed);
    s->backend->release(s->grads, s->bytes.grads);
    s->backend->release(s->buffers, s->bytes.buffers);
    s->backend->release(s->inputs, s->bytes.inputs);
    s->backend->close(s->device);
    free(s);
}

void *state_data(const struct state *s, const struct leaf *l)
{
    char *slab = l->kind == LEAF_WEIGHT ? s->weights : l->kind == LEAF_GRAD ? s->grads : l->kind == LEAF_BUFFER ? s->buffers : s->inputs;
    return slab + l->offset;
}

void state_put(struct state *s, const struct leaf *l, const void *from)
{
    s->backend->put(state_data(s, l), from, leaf_bytes(l));
    s->stale |= l->packed_bytes > 0;
}

void state_pack(struct state *s)
{
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        struct tensor weight = { .data = state_data(s, l), .shape = l->decl.shape, .format = FORMAT_REAL, .packed = (char *)s->packed + l->packed };
        if (l->packed_bytes) s->backend->pack(s->device, &weight);
    }
    s->stale = false;
}

void state_get(struct state *s, const struct leaf *l, void *to) { s->backend->get(to, state_data(s, l), leaf_bytes(l)); }

/* ---- filling ---- */

/* Values that a thread makes at a time: they are in its cache when they are put. */
enum { PIECE = 4096 };

struct fill { const struct state *state; const struct leaf *leaf; struct key key; };

/* The draw depends on (seed, path, matrix of a stack, row, column) alone: not on order, nor on the extent of a dimension. */
static void draw_piece(const struct fill *f, int64_t from, int64_t to, real *values)
{
    const struct init *rule = &f->leaf->init;
    struct shape shape = f->leaf->decl.shape;
    int64_t columns = shape_last(shape), rows = shape.rank > 2 ? shape.dim[shape.rank - 2] : shape_rows(shape);
    float drawn[PIECE];
    for (int64_t at = from, n; at < to; at += n) {
        int64_t row = at / columns, column = at % columns;
        n = columns - column < to - at ? columns - column : to - at;
        struct key key = f->key;
        key.step = (uint64_t)(row / rows) << 32;
        key_normals(key, (uint64_t)(row % rows) << 32 | (uint64_t)column, n, (float)rule->cut, drawn + (at - from));
    }
    for (int64_t i = 0; i < to - from; i++) values[i] = (real)rule->value + (real)rule->std * (real)drawn[i];
}

static bool is_drawn(const struct leaf *l) { return l->kind == LEAF_WEIGHT && l->init.kind == INIT_NORMAL; }

static void fill_constant(void *to, enum format format, int64_t n, double value)
{
    for (int64_t i = 0; i < n; i++) {
        if (format == FORMAT_REAL) ((real *)to)[i] = (real)value;
        else if (format == FORMAT_I32) ((int32_t *)to)[i] = (int32_t)value;
        else ((uint8_t *)to)[i] = (uint8_t)value;
    }
}

static void fill_piece(const struct args *a, int64_t from, int64_t to)
{
    const struct fill *f = a->attr;
    enum format format = leaf_format(f->leaf);
    real values[PIECE];
    if (is_drawn(f->leaf)) draw_piece(f, from, to, values);
    else fill_constant(values, format, to - from, f->leaf->init.value);
    size_t bytes = element_bytes(format);
    f->state->backend->put((char *)state_data(f->state, f->leaf) + (size_t)from * bytes, values, (size_t)(to - from) * bytes);
}

void state_fill(struct state *s, uint64_t seed)
{
    s->backend->clear(s->weights, s->bytes.weights);
    s->backend->clear(s->buffers, s->bytes.buffers);
    s->stale = s->bytes.packed > 0;
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        if (!is_drawn(l) && l->init.value == 0) continue;
        struct fill f = { s, l, { seed, PURPOSE_INIT, hash_name(l->path), 0 } };
        struct args a = { .attr = &f, .device = s->device };
        each(&a, shape_count(l->decl.shape), PIECE, fill_piece);
    }
}
