/* Initial values on the GPU against the CPU's, bit by bit: draws of odd shapes, with and without a cut, constants of
   every format, and of each a part; and weights rounded to bf16. What lies behind them stays as it was.

       test_cuda_fill
       test_cuda_fill waves        tensors that a GPU of 132 multiprocessors works at in several waves of blocks */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>
#include "cuda_devices.h"

enum { BEHIND = 64 };                                       /* bytes */

/* Memory of the GPU with all bits set, and what is in it then. */
struct block { size_t bytes; void *device, *seen; };

static struct block block_new(size_t bytes)
{
    struct block b = { bytes + BEHIND, cuda->alloc(gpu, bytes + BEHIND), malloc(bytes + BEHIND) };
    memset(b.seen, 0xFF, b.bytes);
    cuda->put(gpu, b.device, b.seen, b.bytes);
    return b;
}

/* Holds exactly these bytes, and all bits set behind them. */
static void block_holds(struct block *b, const void *bytes)
{
    size_t n = b->bytes - BEHIND;
    cuda->get(gpu, b->seen, b->device, b->bytes);
    assert_memory_equal(b->seen, bytes, n);
    for (size_t i = n; i < b->bytes; i++) assert_int_equal(((uint8_t *)b->seen)[i], 0xFF);
    cuda->release(gpu, b->device, b->bytes);
    free(b->seen);
}

static struct fill fill_of(void *to, struct shape shape, enum format format, struct init rule)
{
    struct key key = { 11, PURPOSE_INIT, hash_name("layers.0.ffn.up.weight"), 0 };
    return (struct fill){ .to = to, .shape = shape, .format = format, .rule = rule, .key = key };
}

static void gpu_fills(struct fill f, const void *expected)
{
    struct block b = block_new((size_t)shape_count(f.shape) * element_bytes(f.format));
    f.to = b.device;
    cuda->fill(gpu, &f);
    block_holds(&b, expected);
}

static void same_fill(struct shape shape, enum format format, struct init rule)
{
    void *expected = malloc((size_t)shape_count(shape) * element_bytes(format));
    struct fill f = fill_of(expected, shape, format, rule);
    backend_cpu.fill(host, &f);
    gpu_fills(f, expected);
    free(expected);
}

/* Matrices of a stack, rows and columns number the normals: each of the three alone, and blocks of columns that end
   early. */
static void test_draws(void **state)
{
    static const struct shape shapes[] = { { 1, { 1 } }, { 1, { 63 } }, { 1, { 1000 } }, { 2, { 1, 64 } },
                                           { 2, { 50, 1 } }, { 2, { 7, 65 } }, { 2, { 33, 16 } }, { 3, { 5, 31, 333 } },
                                           { 3, { 9, 1, 17 } }, { 4, { 2, 3, 4, 130 } } };
    static const struct init rules[] = { { INIT_NORMAL, 0, 1, 0, 0 }, { INIT_NORMAL, 0.25, 0.02, 0, 0 },
                                         { INIT_NORMAL, 0, 0.02, 3, 0 }, { INIT_NORMAL, -1, 2, 0.5, 0 },
                                         { INIT_UNIFORM, -0.5, 1, 0, 0 }, { INIT_LOG_UNIFORM, 0, 16, 0, 0 } };
    (void)state;
    for (int s = 0; s < COUNT(shapes); s++)
        for (int r = 0; r < COUNT(rules); r++) same_fill(shapes[s], FORMAT_REAL, rules[r]);
}

/* A cut so near that many of a block are drawn again and again. */
static void test_draws_again(void **state)
{
    (void)state;
    same_fill(SHAPE(3, 100), FORMAT_REAL, (struct init){ INIT_NORMAL, 0, 1, 0.02, 0 });
}

static void test_constants(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 3000; n = 3 * n + 2) {
        same_fill(SHAPE(n), FORMAT_REAL, (struct init){ INIT_CONSTANT, 0.1, 0, 0, 0 });
        same_fill(SHAPE(n, 3), FORMAT_I32, (struct init){ INIT_CONSTANT, -7, 0, 0, 0 });
        same_fill(SHAPE(n), FORMAT_U8, (struct init){ INIT_CONSTANT, 200, 0, 0, 0 });
    }
}

static void test_diagonals(void **state)
{
    (void)state;
    for (int first = 0; first < 4; first++) {
        same_fill(SHAPE(70, 70), FORMAT_REAL, (struct init){ INIT_DIAGONAL, -3, 0, 0, first });
        same_fill(SHAPE(1, 3), FORMAT_REAL, (struct init){ INIT_DIAGONAL, 1, 0, 0, first });
        same_fill(SHAPE(3, 1), FORMAT_REAL, (struct init){ INIT_DIAGONAL, 1, 0, 0, first });
    }
}

/* ---- parts: what a rank has of a leaf has the bits of the whole ---- */

enum { MATRICES = 4, ROWS = 7, COLUMNS = 333, ALL = MATRICES * ROWS * COLUMNS };

/* So many of each, from `first` on. */
struct part { int matrices, rows, columns; struct { int matrix, row, column; } first; };

static void cut(const float *whole, const struct part *p, float *out)
{
    for (int m = 0; m < p->matrices; m++)
        for (int r = 0; r < p->rows; r++)
            for (int c = 0; c < p->columns; c++)
                *out++ = whole[((p->first.matrix + m) * ROWS + p->first.row + r) * COLUMNS + p->first.column + c];
}

static void same_part(const struct part *p, struct init rule)
{
    static float whole[ALL], expected[ALL], got[ALL];
    size_t bytes = (size_t)(p->matrices * p->rows * p->columns) * sizeof *got;
    struct shape all = SHAPE(MATRICES, ROWS, COLUMNS);
    struct fill f = fill_of(whole, all, FORMAT_REAL, rule);
    backend_cpu.fill(host, &f);
    cut(whole, p, expected);
    f = fill_of(got, SHAPE(p->matrices, p->rows, p->columns), FORMAT_REAL, rule);
    f.first.matrix = p->first.matrix;
    f.first.row = p->first.row;
    f.first.column = p->first.column;
    backend_cpu.fill(host, &f);
    assert_memory_equal(got, expected, bytes);
    gpu_fills(f, expected);
}

/* Columns from a multiple of a block's width on, within one block and across several; rows; matrices; some of each. */
static void test_parts(void **state)
{
    static const struct part parts[] = { { 4, 7, 64, { 0, 0, 64 } }, { 4, 7, 141, { 0, 0, 192 } },
                                         { 4, 7, 17, { 0, 0, 5 } }, { 4, 7, 130, { 0, 0, 63 } },
                                         { 4, 7, 1, { 0, 0, 332 } }, { 4, 3, 333, { 0, 2, 0 } },
                                         { 2, 7, 333, { 1, 0, 0 } }, { 1, 1, 100, { 3, 6, 130 } } };
    static const struct init rules[] = { { INIT_NORMAL, 0.25, 0.02, 0, 0 }, { INIT_NORMAL, -1, 2, 0.5, 0 },
                                         { INIT_UNIFORM, -0.5, 1, 0, 0 }, { INIT_LOG_UNIFORM, 0, 16, 0, 0 } };
    (void)state;
    for (int p = 0; p < COUNT(parts); p++) for (int r = 0; r < COUNT(rules); r++) same_part(&parts[p], rules[r]);
}

static void test_diagonal_parts(void **state)
{
    enum { N = 9, FIRST = 2 };
    (void)state;
    for (int row = 0; row < N; row += 2)
        for (int column = 0; column < N; column += 3) {
            float expected[N * N];
            int rows = N - row, columns = N - column;
            for (int i = 0; i < rows * columns; i++)
                expected[i] = i % columns + column == i / columns + row + FIRST ? -3 : 0;
            float got[N * N];
            struct fill f = fill_of(got, SHAPE(rows, columns), FORMAT_REAL,
                                    (struct init){ INIT_DIAGONAL, -3, 0, 0, FIRST });
            f.first.row = row;
            f.first.column = column;
            backend_cpu.fill(host, &f);
            assert_memory_equal(got, expected, (size_t)(rows * columns) * sizeof *got);
            gpu_fills(f, expected);
        }
}

/* ---- packing ---- */

/* Normals, ties between two bf16, values that round up to infinity, infinities, and NaN, which stays one. */
static void same_packing(int64_t n)
{
    static const float odd[] = { 0, -0.0f, 1.00390625f, 1.01171875f, -1.00390625f, 3.4e38f, -3.4e38f, 1e-40f, 9.2e-41f,
                                 INFINITY, -INFINITY, NAN };
    float *weight = malloc((size_t)n * sizeof *weight);
    uint16_t *expected = malloc((size_t)n * sizeof *expected);
    struct fill f = fill_of(weight, SHAPE(n), FORMAT_REAL, (struct init){ INIT_NORMAL, 0, 1, 0, 0 });
    backend_cpu.fill(host, &f);
    for (int64_t i = 0; i < COUNT(odd) && i < n; i++) weight[i] = odd[i];
    row_narrow(&(struct tensor){ .data = expected, .shape = SHAPE(n), .format = FORMAT_BF16 }, 0, n, weight);
    struct block from = block_new((size_t)n * sizeof *weight), to = block_new((size_t)n * sizeof *expected);
    cuda->put(gpu, from.device, weight, (size_t)n * sizeof *weight);
    cuda->pack(gpu,
               &(struct tensor){ .data = from.device, .shape = SHAPE(n), .format = FORMAT_REAL, .packed = to.device });
    cuda->get(gpu, to.seen, to.device, to.bytes);
    for (int64_t i = 0; i < n; i++) {
        uint16_t narrow = ((uint16_t *)to.seen)[i];
        if (isnan(weight[i])) assert_true((narrow & 0x7FFF) > 0x7F80);
        else assert_int_equal(narrow, expected[i]);
        expected[i] = narrow;
    }
    block_holds(&from, weight);
    block_holds(&to, expected);
    free(weight);
    free(expected);
}

static void test_packing(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 10000; n = 2 * n + 3) same_packing(n);
}

static void test_waves(void **state)
{
    (void)state;
    same_fill(SHAPE(3, 1001, 1201), FORMAT_REAL, (struct init){ INIT_NORMAL, 0, 0.02, 3, 0 });
    same_fill(SHAPE(5000011), FORMAT_REAL, (struct init){ INIT_CONSTANT, 0.1, 0, 0, 0 });
    same_packing(5000011);
}

int main(int n, char **name)
{
    const struct CMUnitTest of_waves[] = { cmocka_unit_test(test_waves) };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws), cmocka_unit_test(test_draws_again), cmocka_unit_test(test_constants),
        cmocka_unit_test(test_diagonals), cmocka_unit_test(test_parts), cmocka_unit_test(test_diagonal_parts),
        cmocka_unit_test(test_packing),
    };
    bool waves = n == 2 && strcmp(name[1], "waves") == 0;
    if (n > 1 && !waves) {
        print_error("usage: %s [waves]\n", name[0]);
        return 2;
    }
    if (waves) return cmocka_run_group_tests(of_waves, open_devices, close_devices);
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
