/* The initial values of a leaf, in pieces on all threads. */
#include "backend/backend.h"
#include "base/draw.h"
#include "cpu.h"

/* Values that a thread makes at a time. */
enum { PIECE = 4096 };

/* Numbered as normals are (base/draw.h). */
static void key_uniforms(struct key k, uint64_t first, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t number = first + (uint64_t)i;
        uint32_t words[4];
        key_bits(k, number / DRAW_BLOCK * DRAW_INDICES + number % DRAW_INDICES, words);
        to[i] = draw_uniform(words[number % DRAW_BLOCK / DRAW_INDICES]);
    }
}

/* Row and column of a matrix of the stack number the draws of its key. */
static void draw_piece(const struct fill *f, int64_t from, int64_t to, real *values)
{
    int64_t columns = shape_last(f->shape),
            rows = f->shape.rank > 2 ? f->shape.dim[f->shape.rank - 2] : shape_rows(f->shape);
    float drawn[PIECE];
    for (int64_t at = from, n; at < to; at += n) {
        int64_t row = at / columns, column = at % columns;
        n = columns - column < to - at ? columns - column : to - at;
        struct key key = f->key;
        key.step = (uint64_t)(row / rows + f->first.matrix) << 32;
        uint64_t first = (uint64_t)(row % rows + f->first.row) << 32 | (uint64_t)(column + f->first.column);
        if (f->rule.kind == INIT_NORMAL) key_normals(key, first, n, (float)f->rule.cut, drawn + (at - from));
        else key_uniforms(key, first, n, drawn + (at - from));
    }
    for (int64_t i = 0; i < to - from; i++) values[i] = (real)f->rule.value + (real)f->rule.std * (real)drawn[i];
    for (int64_t i = 0; f->rule.kind == INIT_LOG_UNIFORM && i < to - from; i++)
        values[i] = (real)float_log((float)values[i]);
}

static void diagonal_piece(const struct fill *f, int64_t from, int64_t to, real *values)
{
    int64_t columns = shape_last(f->shape);
    for (int64_t i = from; i < to; i++)
        values[i - from] = i % columns + f->first.column == i / columns + f->first.row + f->rule.first
                               ? (real)f->rule.value : 0;
}

static void piece(const struct args *a, int64_t from, int64_t to)
{
    const struct fill *f = a->attr;
    struct tensor t = { .data = f->to, .shape = f->shape, .format = f->format };
    if (f->rule.kind == INIT_DIAGONAL) { diagonal_piece(f, from, to, reals(&t) + from); return; }
    if (f->rule.kind != INIT_CONSTANT) { draw_piece(f, from, to, reals(&t) + from); return; }
    for (int64_t i = from; i < to; i++) {
        if (f->format == FORMAT_REAL) reals(&t)[i] = (real)f->rule.value;
        else if (f->format == FORMAT_I32) ints(&t)[i] = (int32_t)f->rule.value;
        else ((uint8_t *)f->to)[i] = (uint8_t)f->rule.value;
    }
}

void cpu_fill(void *device, const struct fill *f)
{
    each(&(struct args){ .attr = f, .device = device }, shape_count(f->shape), PIECE, piece);
}
