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

size_t leaf_whole_bytes(const struct leaf *l)
{
    return (size_t)shape_count(l->whole) * element_bytes(leaf_format(l));
}

/* A buffer that one of the replicas alone keeps. */
static bool is_held(const struct leaf *l) { return l->kind == LEAF_BUFFER && !l->everywhere && l->holder; }

bool state_has(const struct leaf *l) { return home_is_here(l->home, &comm_here()->place); }

bool state_is_foreign(const struct leaf *l)
{
    if (!state_has(l)) return true;
    return is_held(l) && l->holder != place_index(&comm_here()->place, leaf_replicas(l)) + 1;
}

bool state_writes(const struct leaf *l)
{
    return state_has(l) && place_index(&comm_here()->place, leaf_replicas(l)) == (l->holder ? l->holder - 1 : 0);
}

int64_t state_begin(const struct leaf *l)
{
    return l->over || l->shard ? leaf_part(l, &comm_here()->place) * l->decl.shape.dim[l->cut] : 0;
}

static bool is_offloaded(const struct leaves *leaves, const struct leaf *l) { return leaves->offload && l->of_update; }

static enum slab slab_of(const struct leaves *leaves, const struct leaf *l)
{
    static const enum slab by_kind[] = { [LEAF_INPUT] = SLAB_INPUTS, [LEAF_CONTROL] = SLAB_CONTROLS,
                                         [LEAF_WEIGHT] = SLAB_WEIGHTS, [LEAF_BUFFER] = SLAB_BUFFERS,
                                         [LEAF_GRAD] = SLAB_GRADS };
    return is_offloaded(leaves, l) ? SLAB_OFFLOADED
           : l->kind == LEAF_WEIGHT && l->frozen ? SLAB_FROZEN : by_kind[l->kind];
}

struct state_bytes state_layout(struct leaves *leaves)
{
    struct state_bytes b = { 0 };
    bool grads = false;
    for (int i = 0; i < leaves->n; i++) {
        struct leaf *l = leaves->leaf[i];
        size_t *end = &b.of[slab_of(leaves, l)];
        if (l->kind == LEAF_GRAD) { l->offset = l->of->offset; grads = true; continue; }
        if (state_is_foreign(l)) continue;
        l->offset = *end;
        *end += offsets_round(leaf_bytes(l));
        l->packed = b.of[SLAB_PACKED];
        b.of[SLAB_PACKED] += offsets_round(l->packed_bytes);
    }
    if (grads) b.of[SLAB_GRADS] = b.of[SLAB_WEIGHTS];       /* a gradient lies where its weight does */
    return b;
}

static void slab_new(struct state *s, enum slab i)
{
    s->slab[i] = i == SLAB_OFFLOADED ? s->backend->alloc_host(s->device, s->bytes.of[i])
                                     : s->backend->alloc(s->device, s->bytes.of[i]);
}

struct state *state_new(struct leaves *l, const struct backend *b, int threads)
{
    struct state *s = xcalloc(1, sizeof *s);
    s->leaves = l;
    s->backend = b;
    s->bytes = state_layout(l);
    s->device = b->open(threads);
    for (int i = 0; i < SLABS; i++)
        if (s->bytes.of[i] || (i != SLAB_OFFLOADED && i != SLAB_GRADS)) slab_new(s, (enum slab)i);
    return s;
}

void state_want_grads(struct state *s)
{
    if (s->slab[SLAB_GRADS]) return;
    s->bytes.of[SLAB_GRADS] = s->bytes.of[SLAB_WEIGHTS];
    slab_new(s, SLAB_GRADS);
}

void state_free(struct state *s)
{
    if (!s) return;
    const struct backend *b = s->backend;
    for (int i = 0; i < SLABS; i++) if (i != SLAB_OFFLOADED) b->release(s->device, s->slab[i], s->bytes.of[i]);
    if (s->slab[SLAB_OFFLOADED]) b->release_host(s->device, s->slab[SLAB_OFFLOADED]);
    b->release(s->device, s->staged, s->staged_bytes);
    b->close(s->device);
    free(s);
}

void *state_data(const struct state *s, const struct leaf *l)
{
    return s->slab[slab_of(s->leaves, l)] + l->offset;
}

void state_put_part(struct state *s, const struct leaf *l, const void *from)
{
    s->backend->put(s->device, state_data(s, l), from, leaf_bytes(l));
    s->stale |= l->packed_bytes > 0;
}

void state_get_part(struct state *s, const struct leaf *l, void *to)
{
    s->backend->get(s->device, to, state_data(s, l), leaf_bytes(l));
}

/* ---- leaves of which ranks have parts ---- */

/* The rank that answers for part i: of the replicas that have it, the one that keeps it, or the first. */
static int keeper_of(const struct leaf *l, int i)
{
    struct place at = comm_here()->place;
    int each = place_group(&at, l->shard);
    if (l->home) at.rank = place_member(&at, OVER_PP, l->home - 1);
    at.rank = place_member(&at, l->over, i / each);
    at.rank = place_member(&at, l->shard, i % each);
    return place_member(&at, leaf_replicas(l), is_held(l) ? l->holder - 1 : 0);
}

/* Copies part i between all of a leaf and a part by itself. */
static void move_part(const struct leaf *l, int i, char *whole, char *part, bool out)
{
    size_t row = element_bytes(leaf_format(l)), outer = 1;
    for (int d = 0; d < l->cut; d++) outer *= (size_t)l->whole.dim[d];
    for (int d = l->cut; d < l->decl.shape.rank; d++) row *= (size_t)l->decl.shape.dim[d];
    size_t stride = leaf_whole_bytes(l) / outer;
    for (size_t k = 0; k < outer; k++) {
        char *there = whole + k * stride + (size_t)i * row, *here = part + k * row;
        memcpy(out ? here : there, out ? there : here, row);
    }
}

static void put_parts(struct state *s, const struct leaf *l, const void *from)
{
    const struct comm *c = comm_here();
    char *part = xmalloc(leaf_bytes(l));
    for (int i = 0; i < leaf_parts(l, &c->place); i++) {
        move_part(l, i, (char *)from, part, true);
        if (keeper_of(l, i) == c->rank) state_put_part(s, l, part);
        else comm_send(part, leaf_bytes(l), keeper_of(l, i));
    }
    free(part);
}

static void get_parts(struct state *s, const struct leaf *l, void *to)
{
    const struct comm *c = comm_here();
    char *part = xmalloc(leaf_bytes(l));
    for (int i = 0; i < leaf_parts(l, &c->place); i++) {
        if (keeper_of(l, i) == c->rank) state_get_part(s, l, part);
        else comm_receive(part, leaf_bytes(l), keeper_of(l, i));
        move_part(l, i, to, part, false);
    }
    free(part);
}

/* Whether other ranks may have to answer. */
static bool is_elsewhere(const struct leaf *l) { return l->over || l->shard || state_is_foreign(l); }

void state_put(struct state *s, const struct leaf *l, const void *from)
{
    if (!is_elsewhere(l)) { state_put_part(s, l, from); return; }
    comm_order(ORDER_PUT, l->id);
    put_parts(s, l, from);
}

void state_get(struct state *s, const struct leaf *l, void *to)
{
    if (!is_elsewhere(l)) { state_get_part(s, l, to); return; }
    comm_order(ORDER_GET, l->id);
    get_parts(s, l, to);
}

void state_answer(struct state *s, struct order o)
{
    const struct leaf *l = s->leaves->leaf[o.value];
    const struct comm *c = comm_here();
    if (keeper_of(l, leaf_part(l, &c->place)) != c->rank) return;
    void *part = xmalloc(leaf_bytes(l));
    if (o.kind == ORDER_PUT) {
        comm_receive(part, leaf_bytes(l), 0);
        state_put_part(s, l, part);
    } else {
        state_get_part(s, l, part);
        comm_send(part, leaf_bytes(l), 0);
    }
    free(part);
}

void state_share(struct state *s)
{
    const struct comm *c = comm_here();
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && (l->kind != LEAF_BUFFER || is_held(l))) continue;
        if (!state_has(l) || place_group(&c->place, leaf_replicas(l)) == 1) continue;
        void *part = xmalloc(leaf_bytes(l));
        state_get_part(s, l, part);
        c->broadcast(part, leaf_bytes(l), place_member(&c->place, leaf_replicas(l), 0), leaf_replicas(l));
        state_put_part(s, l, part);
        free(part);
    }
}

/* The inputs of a single micro-batch are put where they are read. */
size_t state_staged_bytes(struct leaves *l, int micros)
{
    return micros > 1 ? (size_t)micros * state_layout(l).of[SLAB_INPUTS] : 0;
}

void state_stage(struct state *s, const struct leaf *input, int micro, int micros, const void *from)
{
    size_t one = s->bytes.of[SLAB_INPUTS], bytes = (size_t)micros * one;
    if (micros == 1) { state_put(s, input, from); return; }
    INVARIANT(!s->staged || s->staged_bytes == bytes, "the number of micro-batches does not change");
    if (!s->staged) s->staged = s->backend->alloc(s->device, s->staged_bytes = bytes);
    s->backend->put(s->device, s->staged + (size_t)micro * one + input->offset, from, leaf_bytes(input));
}

void state_unstage(struct state *s, int micro)
{
    size_t one = s->bytes.of[SLAB_INPUTS];
    if (s->staged) s->backend->copy(s->device, s->slab[SLAB_INPUTS], s->staged + (size_t)micro * one, one);
}

void state_pack(struct state *s)
{
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        struct tensor weight = { .data = state_data(s, l), .shape = l->decl.shape, .format = FORMAT_REAL,
                                 .packed = s->slab[SLAB_PACKED] + l->packed };
        if (l->packed_bytes && state_has(l)) s->backend->pack(s->device, &weight);
    }
    s->stale = false;
}

int state_copy(const struct leaves *to, struct state *into, const struct leaves *from, struct state *from_state,
               struct err *e)
{
    for (int i = 0; i < to->n; i++) {
        const struct leaf *l = to->leaf[i];
        if (!leaf_is_saved(l)) continue;
        const struct leaf *source = leaves_find(from, l->path);
        if (source && leaves_average(from, source)) source = leaves_average(from, source);
        if (!source || leaf_whole_bytes(source) != leaf_whole_bytes(l))
            return err_set(e, "%s: the trained model has no such tensor of this size", l->path);
        void *memory = xmalloc(leaf_whole_bytes(l));
        state_get(from_state, source, memory);
        state_put(into, l, memory);
        free(memory);
    }
    return 0;
}

/* ---- values of weights in codes ---- */

void state_put_values(struct state *s, const struct leaf *l, const real *values)
{
    if (l->kept == KEPT_FLOAT) { state_put(s, l, values); return; }
    int64_t n = shape_count(l->values);
    float *floats = xmalloc((size_t)n * sizeof *floats);
    unsigned char *codes = xmalloc(leaf_whole_bytes(l));
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
    unsigned char *codes = xmalloc(leaf_whole_bytes(l));
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
                      { seed, PURPOSE_INIT, hash_name(l->of ? l->of->path : l->path), 0 }, { 0, 0, 0 } };
    int64_t first = l->over || l->shard ? leaf_part(l, &comm_here()->place) * shape.dim[l->cut] : 0;
    for (int d = l->cut + 1; d < shape.rank - 2; d++) first *= shape.dim[d];
    if (l->cut == shape.rank - 1) f.first.column = first;
    else if (l->cut == shape.rank - 2) f.first.row = first;
    else f.first.matrix = first;
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

/* A draw depends on (seed, path, matrix of a stack, row, column) alone: not on order, on the extent of a dimension, nor
   on which rank has it. */
void state_fill(struct state *s, uint64_t seed)
{
    static const enum slab cleared[] = { SLAB_WEIGHTS, SLAB_FROZEN, SLAB_BUFFERS, SLAB_OFFLOADED };
    for (int i = 0; i < COUNT(cleared); i++)
        if (s->slab[cleared[i]]) s->backend->clear(s->device, s->slab[cleared[i]], s->bytes.of[cleared[i]]);
    s->stale = s->bytes.of[SLAB_PACKED] > 0;
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if ((l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) || state_is_foreign(l)) continue;
        if (l->kind == LEAF_WEIGHT && l->kept != KEPT_FLOAT) { fill_codes(s, l, seed); continue; }
        if (l->init.kind == INIT_CONSTANT && l->init.value == 0) continue;
        fill(s, l, seed, state_data(s, l), l->decl.shape, leaf_format(l));
    }
}
