/* The memory of a model's leaves: one slab a kind, shared by the plans of its graphs. */
#include "state.h"
#include "place.h"

#include <math.h>
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

void state_put(struct state *s, const struct leaf *l, const void *from) { s->backend->put(state_data(s, l), from, leaf_bytes(l)); }
void state_get(struct state *s, const struct leaf *l, void *to) { s->backend->get(to, state_data(s, l), leaf_bytes(l)); }

/* ---- filling ---- */

struct fill { const struct leaf *leaf; real *to; struct key key; int64_t row_length, rows; };   /* rows: of one matrix of a stack */

/* The draw depends on (seed, path, matrix of a stack, row, column) alone: not on order, nor on the extent of a dimension.
   Beyond the cut it is drawn again under the next step number. */
static void fill_rows(const struct args *a, int64_t from, int64_t to)
{
    const struct fill *f = a->attr;
    const struct init *rule = &f->leaf->init;
    for (int64_t r = from; r < to; r++)
        for (int64_t c = 0; c < f->row_length; c++) {
            struct key k = f->key;
            uint64_t place = (uint64_t)(r / f->rows) << 52 | (uint64_t)(r % f->rows) << 32 | (uint64_t)c;
            double x = key_normal(k, place);
            while (rule->cut > 0 && fabs(x) > rule->cut) {
                k.step++;
                x = key_normal(k, place);
            }
            f->to[r * f->row_length + c] = (real)(rule->value + rule->std * x);
        }
}

static void fill_constant(void *to, enum format format, int64_t n, double value)
{
    for (int64_t i = 0; i < n; i++) {
        if (format == FORMAT_REAL) ((real *)to)[i] = (real)value;
        else if (format == FORMAT_I32) ((int32_t *)to)[i] = (int32_t)value;
        else ((uint8_t *)to)[i] = (uint8_t)value;
    }
}

void state_fill(struct state *s, uint64_t seed)
{
    for (int i = 0; i < s->leaves->n; i++) {
        const struct leaf *l = s->leaves->leaf[i];
        if (l->kind != LEAF_WEIGHT && l->kind != LEAF_BUFFER) continue;
        int64_t n = shape_count(l->decl.shape);
        void *to = xmalloc(leaf_bytes(l));
        if (l->kind == LEAF_WEIGHT && l->init.kind == INIT_NORMAL) {
            struct shape shape = l->decl.shape;
            int64_t rows = shape_rows(shape);
            struct fill f = { l, to, { seed, PURPOSE_INIT, hash_name(l->path), 0 }, shape_last(shape), shape.rank > 2 ? shape.dim[shape.rank - 2] : rows };
            struct args a = { .attr = &f, .device = s->device };
            each(&a, rows, 1 + 4096 / f.row_length, fill_rows);
        } else {
            fill_constant(to, leaf_format(l), n, l->init.value);
        }
        state_put(s, l, to);
        free(to);
    }
}
