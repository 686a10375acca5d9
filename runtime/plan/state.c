/* The memory of a model's leaves: one slab a kind, shared by the plans of its graphs. */
#include "state.h"
#include "base/nf4.h"
#include "offsets.h"

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

bool state_is_foreign(const struct leaf *l)
{
    return l->kind == LEAF_BUFFER && !l->everywhere && l->holder && l->holder != comm_here()->rank + 1;
}

static bool is_offloaded(const struct leaves *leaves, const struct leaf *l) { return leaves->offload && l->of_update; }

struct state_bytes state_layout(struct leaves *leaves)
{
    struct state_bytes b = { 0 };
    for (int i = 0; i < leaves->n; i++) {
        struct leaf *l = leaves->leaf[i];
        size_t *slab = is_offloaded(leaves, l)   ? &b.offloaded
                       : l->kind == LEAF_WEIGHT  ? (l->frozen ? &b.frozen : &b.weights)
                       : l->kind == LEAF_BUFFER  ? &b.buffers
                       : l->kind == LEAF_CONTROL ? &b.controls
                                                 : &b.inputs;
        if (l->kind == LEAF_GRAD) { l->offset = l->of->offset; b.grads = 1; continue; }
        if (state_is_foreign(l)) continue;
        l->offset = *slab;
        *slab += offsets_round(leaf_bytes(l));
        l->packed = b.packed;
        b.packed += offsets_round(l->packed_bytes);
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
    s->device = b->open(threads);
    s->weights = b->alloc(s->device, s->bytes.weights);
    s->frozen = b->alloc(s->device, s->bytes.frozen);
    s->packed = b->alloc(s->device, s->bytes.packed);
    s->buffers = b->alloc(s->device, s->bytes.buffers);
    if (s->bytes.offloaded) s->offloaded = b->alloc_host(s->device, s->bytes.offloaded);
    s->controls = b->alloc(s->device, s->bytes.controls);
    s->inputs = b->alloc(s->device, s->bytes.inputs);
    if (s->bytes.grads) s->grads = b->alloc(s->device, s->bytes.grads);
    return s;
}

void state_want_grads(struct state *s)
{
    if (s->grads) return;
    s->bytes.grads = s->bytes.weights;
    s->grads = s->backend->alloc(s->device, s->bytes.grads);
}

void state_free(struct state *s)
{
    if (!s) return;
    const struct backend *b = s->backend;
    b->release(s->device, s->weights, s->bytes.weights);
    b->release(s->device, s->frozen, s->bytes.frozen);
    b->release(s->device, s->packed, s->bytes.packed);
    b->release(s->device, s->grads, s->bytes.grads);
    b->release(s->device, s->buffers, s->bytes.buffers);
    if (s->offloaded) b->release_host(s->device, s->offloaded);
    b->release(s->device, s->controls, s->bytes.controls);
    b->release(s->device, s->inputs, s->bytes.inputs);
    b->release(s->device, s->staged, s->staged_bytes);
    b->close(s->device);
    free(s);
}

void *state_data(const struct state *s, const struct leaf *l)
{
    char *slab[] = { [LEAF_INPUT] = s->inputs, [LEAF_CONTROL] = s->controls,
                     [LEAF_WEIGHT] = l->frozen ? s->frozen : s->weights, [LEAF_BUFFER] = s->buffers,
                     [LEAF_GRAD] = s->grads };
    return (is_offloaded(s->leaves, l) ? (char *)s->offloaded : slab[l->kind]) + l->offset;
}

void state_put(struct state *s, const struct leaf *l, const void *from)
{
    if (state_is_foreign(l)) {
        comm_order(ORDER_PUT, l->id);
        comm_here()->send(from, leaf_bytes(l), l->holder - 1);
        return;
    }
    s->backend->put(s->device, state_data(s, l), from, leaf_bytes(l));
    s->stale |= l->packed_bytes > 0;
}

/* The inputs of a single micro-batch are put where they are read. */
size_t state_staged_bytes(struct leaves *l, int micros)
{
    return micros > 1 ? (size_t)micros * state_layout(l).inputs : 0;
}

void state_stage(struct state *s, const struct leaf *input, int micro, int micros, const void *from)
{
    size_t bytes = (size_t)micros * s->bytes.inputs;
    if (micros == 1) { state_put(s, input, from); return; }
    INVARIANT(!s->staged || s->staged_bytes == bytes, "the number of micro-batches does not change");
    if (!s->staged) s->staged = s->backend->alloc(s->device, s->staged_bytes = bytes);
    s->backend->put(s->device, s->staged + (size_t)micro * s->bytes.inputs + input->offset, from, leaf_bytes(input));
}

void state_unstage(struct state *s, int micro)
{
    if (s->staged) s->backend->copy(s->device, s->inputs, s->staged + (size_t)micro * s->bytes.inputs, s->bytes.inputs);
}

void state_pack(struct state *s)
{
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        struct tensor weight = { .data = state_data(s, l), .shape = l->decl.shape, .format = FORMAT_REAL,
                                 .packed = (char *)s->packed + l->packed };
        if (l->packed_bytes) s->backend->pack(s->device, &weight);
    }
    s->stale = false;
}

void state_get(struct state *s, const struct leaf *l, void *to)
{
    if (!state_is_foreign(l)) { s->backend->get(s->device, to, state_data(s, l), leaf_bytes(l)); return; }
    comm_order(ORDER_GET, l->id);
    comm_here()->receive(to, leaf_bytes(l), l->holder - 1);
}

int state_copy(const struct leaves *to, struct state *into, const struct leaves *from, struct state *from_state,
               struct err *e)
{
    for (int i = 0; i < to->n; i++) {
        const struct leaf *l = to->leaf[i];
        if ((l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) || l->transient) continue;
        const struct leaf *source = leaves_find(from, l->path);
        if (source && leaves_average(from, source)) source = leaves_average(from, source);
        if (!source || leaf_bytes(source) != leaf_bytes(l))
            return err_set(e, "%s: the trained model has no such tensor of this size", l->path);
        void *memory = xmalloc(leaf_bytes(l));
        state_get(from_state, source, memory);
        state_put(into, l, memory);
        free(memory);
    }
    return 0;
}

void state_answer(struct state *s, struct order o)
{
    const struct leaf *l = s->leaves->leaf[o.value];
    if (l->holder != comm_here()->rank + 1) return;
    void *values = xmalloc(leaf_bytes(l));
    if (o.kind == ORDER_PUT) {
        comm_here()->receive(values, leaf_bytes(l), 0);
        state_put(s, l, values);
    } else {
        state_get(s, l, values);
        comm_here()->send(values, leaf_bytes(l), 0);
    }
    free(values);
}

void state_share(struct state *s)
{
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && (l->kind != LEAF_BUFFER || (l->holder && !l->everywhere))) continue;
        void *values = xmalloc(leaf_bytes(l));
        state_get(s, l, values);
        comm_here()->broadcast(values, leaf_bytes(l), 0);
        state_put(s, l, values);
        free(values);
    }
}

/* ---- values of weights in codes ---- */

void state_put_values(struct state *s, const struct leaf *l, const real *values)
{
    if (l->kept == KEPT_FLOAT) { state_put(s, l, values); return; }
    int64_t n = shape_count(l->values);
    float *floats = xmalloc((size_t)n * sizeof *floats);
    unsigned char *codes = xmalloc(leaf_bytes(l));
    for (int64_t i = 0; i < n; i++) floats[i] = (float)values[i];
    nf4_quantise(l->kept, n, floats, codes);
    state_put(s, l, codes);
    free(codes);
    free(floats);
}

void state_get_values(struct state *s, const struct leaf *l, real *to)
{
    if (l->kept == KEPT_FLOAT) { state_get(s, l, to); return; }
    int64_t n = shape_count(l->values);
    float *floats = xmalloc((size_t)n * sizeof *floats);
    unsigned char *codes = xmalloc(leaf_bytes(l));
    state_get(s, l, codes);
    nf4_values(l->kept, n, codes, floats);
    for (int64_t i = 0; i < n; i++) to[i] = (real)floats[i];
    free(codes);
    free(floats);
}

/* ---- initial values ---- */

static void fill(struct state *s, const struct leaf *l, uint64_t seed, void *to, struct shape shape, enum format format)
{
    struct fill f = { to, shape, format, l->init,
                      { seed, PURPOSE_INIT, hash_name(l->of ? l->of->path : l->path), 0 } };
    s->backend->fill(s->device, &f);
}

/* What it would begin with in floats, quantised. */
static void fill_codes(struct state *s, const struct leaf *l, uint64_t seed)
{
    size_t bytes = (size_t)shape_count(l->values) * sizeof(real);
    void *drawn = s->backend->alloc(s->device, bytes);
    real *values = xmalloc(bytes);
    fill(s, l, seed, drawn, l->values, FORMAT_REAL);
    s->backend->get(s->device, values, drawn, bytes);
    s->backend->release(s->device, drawn, bytes);
    state_put_values(s, l, values);
    free(values);
}

/* A draw depends on (seed, path, matrix of a stack, row, column) alone: not on order, nor on the
   extent of a dimension. */
void state_fill(struct state *s, uint64_t seed)
{
    s->backend->clear(s->device, s->weights, s->bytes.weights);
    s->backend->clear(s->device, s->frozen, s->bytes.frozen);
    s->backend->clear(s->device, s->buffers, s->bytes.buffers);
    if (s->offloaded) s->backend->clear(s->device, s->offloaded, s->bytes.offloaded);
    s->stale = s->bytes.packed > 0;
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        if (l->kind == LEAF_WEIGHT && l->kept != KEPT_FLOAT) { fill_codes(s, l, seed); continue; }
        if (state_is_foreign(l) || (l->init.kind == INIT_CONSTANT && l->init.value == 0)) continue;
        fill(s, l, seed, state_data(s, l), l->decl.shape, leaf_format(l));
    }
}
