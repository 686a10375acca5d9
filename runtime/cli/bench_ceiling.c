/* What this machine reaches at best: products of matrices, and streams of bytes by how much they touch. */
#include "bench.h"
#include "cpu/gemm.h"

#include <math.h>
#include <stdlib.h>

/* ---- the best product ---- */

static struct tensor numbers(int64_t rows, int64_t columns, enum format format)
{
    struct tensor t = { .data = backend_cpu.alloc(NULL, (size_t)(rows * columns) * element_bytes(format)), .shape = SHAPE(rows, columns), .format = format };
    real *scratch = xmalloc((size_t)columns * sizeof *scratch);
    for (int64_t r = 0; r < rows; r++) {
        real *row = row_write(&t, r * columns, columns, scratch);
        for (int64_t c = 0; c < columns; c++) row[c] = (real)((r + c) % 13) * (real)0.1 - (real)0.6;
        row_done(&t, r * columns, columns, row);
    }
    free(scratch);
    return t;
}

static void release(const struct tensor *t, size_t packed)
{
    backend_cpu.release(NULL, t->data, (size_t)shape_count(t->shape) * element_bytes(t->format));
    if (packed) backend_cpu.release(NULL, t->packed, packed);
}

/* FLOP/s of x w^T [m,n] over depth k, in the formats of training and with w packed as weights are; the best of a quarter
   of a second, as what else runs only slows. */
static double product_rate(int64_t m, int64_t n, int64_t k, enum format act, int threads)
{
    struct tensor x = numbers(m, k, act), w = numbers(n, k, FORMAT_REAL), y = numbers(m, n, act);
    struct args a = { .device = backend_cpu.open(threads) };
    size_t packed = backend_cpu.packed_bytes(w.shape, act);
    if (packed) {
        w.packed = backend_cpu.alloc(NULL, packed);
        backend_cpu.pack(a.device, &w);
    }
    struct gemm g = { .m = m, .n = n, .k = k, .a = matrix_of(&x, k), .b = matrix_turned(matrix_of(&w, k)), .c = matrix_of(&y, n), .narrow = act == FORMAT_BF16 };
    double least = INFINITY, began = clock_seconds();
    do {
        double start = clock_seconds();
        gemm(&a, &g);
        least = fmin(least, clock_seconds() - start);
    } while (clock_seconds() - began < 0.25);
    backend_cpu.close(a.device);
    release(&x, 0);
    release(&w, packed);
    release(&y, 0);
    return 2 * (double)(m * n * k) / least;
}

double bench_best_product(enum precision precision, int threads)
{
    enum format act = precision == PRECISION_BF16 ? FORMAT_BF16 : FORMAT_REAL;
    double best = 0;
    for (int64_t width = 256; width <= 1024; width *= 2) best = fmax(best, product_rate(2048, width, width, act, threads));
    return best;
}

/* ---- the best stream ---- */

static const size_t stream_bytes[BENCH_STREAMS] = { 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28 };

struct stream { char *memory; size_t each; int64_t times; };

/* A thread goes over its own part again and again, so that what fits into its caches stays there. */
static void copy_parts(const struct args *a, int64_t from, int64_t to)
{
    const struct stream *s = a->attr;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < s->times; k++) memcpy(s->memory + (size_t)i * s->each, s->memory + (size_t)i * s->each + s->each / 2, s->each / 2);
}

static void change_parts(const struct args *a, int64_t from, int64_t to)
{
    const struct stream *s = a->attr;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < s->times; k++) {
            uint32_t *values = (uint32_t *)(void *)(s->memory + (size_t)i * s->each);
            for (size_t v = 0; v < s->each / sizeof *values; v++) values[v]++;
        }
}

static double least_seconds(const struct args *a, int threads, void (*parts)(const struct args *a, int64_t from, int64_t to))
{
    double least = INFINITY, began = clock_seconds();
    do {
        double start = clock_seconds();
        each(a, threads, 1, parts);
        least = fmin(least, clock_seconds() - start);
    } while (clock_seconds() - began < 0.05);
    return least;
}

/* Bytes read and written a second, `bytes` in all: copied, which reads half of them and writes the other half, or changed where
   they are, which reads and writes them all. */
static double stream_rate(char *memory, size_t bytes, void *device, int threads)
{
    struct stream s = { memory, bytes / (size_t)threads / 64 * 64, 1 + (int64_t)((1 << 24) / bytes) };
    struct args a = { .attr = &s, .device = device };
    double moved = (double)s.each * threads * (double)s.times;
    return fmax(moved / least_seconds(&a, threads, copy_parts), 2 * moved / least_seconds(&a, threads, change_parts));
}

void bench_ceiling(struct bench_ceiling *c, double products, int threads)
{
    size_t most = stream_bytes[BENCH_STREAMS - 1];
    char *memory = backend_cpu.alloc(NULL, most);
    void *device = backend_cpu.open(threads);
    memset(memory, 1, most);
    c->products = products;
    for (int i = BENCH_STREAMS - 1; i >= 0; i--) {
        double rate = stream_rate(memory, stream_bytes[i], device, threads);
        c->stream[i] = i + 1 < BENCH_STREAMS ? fmax(rate, c->stream[i + 1]) : rate;
    }
    backend_cpu.close(device);
    backend_cpu.release(NULL, memory, most);
}

double bench_stream(const struct bench_ceiling *c, double bytes)
{
    int i = 0;
    while (i + 1 < BENCH_STREAMS && (double)stream_bytes[i] < bytes) i++;
    return c->stream[i];
}
