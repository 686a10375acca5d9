/* The initial values of a leaf with the bits of the CPU (runtime/base/draw.h), and weights rounded to bf16. Bound by
   the multiplications of Philox, and by memory: 6 bytes a value for the rounding, which is the least. Compiled without
   contraction into fused multiply-adds. */
#include "kernel.cuh"
extern "C" {
#include "parts.h"
}
#include "base/draw.h"

/* Rows of a matrix, and its columns in blocks of DRAW_BLOCK; where in the whole they begin. */
struct grid { unsigned rows, blocks; int64_t columns; unsigned matrix, row; int64_t column; };
struct rule { uint64_t mixed; int kind; float value, std, cut; };

static __device__ inline void draw_four(struct rule n, uint64_t index, uint64_t step, float x[4])
{
    philox4x32_ctr_t bits = draw_bits(n.mixed, index, step);
    if (n.kind != init::INIT_NORMAL) {
        for (int w = 0; w < 4; w++) x[w] = draw_uniform(bits.v[w]);
        return;
    }
    draw_normals(bits.v[0], bits.v[1], &x[0], &x[1]);
    draw_normals(bits.v[2], bits.v[3], &x[2], &x[3]);
}

/* Draws again under the next step number what lies beyond the cut, until nothing does. */
static __device__ inline void trim_four(struct rule n, uint64_t index, uint64_t step, float x[4])
{
    for (;;) {
        float redrawn[4];
        bool beyond = false;
        for (int w = 0; w < 4; w++) beyond |= fabsf(x[w]) > n.cut;
        if (!beyond) return;
        draw_four(n, index, ++step, redrawn);
        for (int w = 0; w < 4; w++) x[w] = fabsf(x[w]) > n.cut ? redrawn[w] : x[w];
    }
}

/* A thread makes the four draws of an index; DRAW_INDICES neighbours write a block. */
static __global__ void __launch_bounds__(BLOCK) fill_drawn(float *to, struct rule n, struct grid g, int64_t indices)
{
    for (int64_t i = first_item(); i < indices; i += all_items()) {
        unsigned block = (unsigned)(i / DRAW_INDICES), row = block / g.blocks, lane = (unsigned)(i % DRAW_INDICES);
        int64_t column = (g.column / DRAW_BLOCK + block % g.blocks) * DRAW_BLOCK;
        uint64_t number = (uint64_t)(row % g.rows + g.row) << 32 | (uint64_t)column,
                 step = (uint64_t)(row / g.rows + g.matrix) << 32;
        uint64_t index = number / DRAW_BLOCK * DRAW_INDICES + lane;
        float x[4];
        draw_four(n, index, step, x);
        if (n.cut > 0) trim_four(n, index, step, x);
        for (int w = 0; w < 4; w++) {
            int64_t c = column + w * DRAW_INDICES + lane - g.column;
            float value = n.value + n.std * x[w];
            if (n.kind == init::INIT_LOG_UNIFORM) value = float_log(value);
            if (c >= 0 && c < g.columns) to[row * g.columns + c] = value;
        }
    }
}

template <typename T> static __global__ void __launch_bounds__(BLOCK) fill_constant(T *to, T value, int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_items()) to[i] = value;
}

static __global__ void __launch_bounds__(BLOCK) fill_diagonal(float *to, float value, int first, int64_t columns,
                                                              int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_items()) to[i] = i % columns == i / columns + first ? value : 0;
}

void cuda_fill(void *device, const struct fill *f)
{
    struct args a = { .device = device };
    int64_t count = shape_count(f->shape), columns = shape_last(f->shape), rows = shape_rows(f->shape),
            before = f->first.column / DRAW_BLOCK,
            blocks = (f->first.column + columns + DRAW_BLOCK - 1) / DRAW_BLOCK - before;
    int grid = grid_for(&a, count, BLOCK * 4);
    const struct init *rule = &f->rule;
    if (rule->kind != init::INIT_CONSTANT && rule->kind != init::INIT_DIAGONAL) {
        INVARIANT(f->format == FORMAT_REAL && rows * blocks <= UINT32_MAX, "a draw of %lld values", (long long)count);
        struct rule n = { key_mixed(f->key), rule->kind, (float)rule->value, (float)rule->std, (float)rule->cut };
        struct grid g = { (unsigned)(f->shape.rank > 2 ? f->shape.dim[f->shape.rank - 2] : rows), (unsigned)blocks,
                          columns, (unsigned)f->first.matrix, (unsigned)f->first.row, f->first.column };
        LAUNCH(&a, fill_drawn, grid, BLOCK, 0, (float *)f->to, n, g, rows * blocks * DRAW_INDICES);
    } else if (rule->kind == init::INIT_DIAGONAL)
        LAUNCH(&a, fill_diagonal, grid, BLOCK, 0, (float *)f->to, (float)rule->value,
               rule->first + (int)(f->first.row - f->first.column), columns, count);
    else if (f->format == FORMAT_REAL)
        LAUNCH(&a, fill_constant<float>, grid, BLOCK, 0, (float *)f->to, (float)rule->value, count);
    else if (f->format == FORMAT_I32)
        LAUNCH(&a, fill_constant<int32_t>, grid, BLOCK, 0, (int32_t *)f->to, (int32_t)rule->value, count);
    else LAUNCH(&a, fill_constant<uint8_t>, grid, BLOCK, 0, (uint8_t *)f->to, (uint8_t)rule->value, count);
}

/* ---- packing ---- */

static __global__ void __launch_bounds__(BLOCK) pack_weight(struct view weight, struct view packed, int64_t n)
{
    int64_t whole = n / LANES;
    for (int64_t i = first_item(); i < whole; i += all_items()) store8(packed, i * LANES, load8(weight, i * LANES));
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items()) store(packed, i, load(weight, i));
}

void cuda_pack(void *device, const struct tensor *weight)
{
    struct args a = { .device = device };
    struct view packed = { weight->packed, true };
    int64_t n = shape_count(weight->shape);
    LAUNCH(&a, pack_weight, grid_for(&a, n, BLOCK * LANES), BLOCK, 0, view_of(*weight), packed, n);
}
