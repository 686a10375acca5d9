/* What this machine reaches at best: products of matrices, and streams of bytes by how much they touch. */
#include "bench.h"
#include "graph/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Seconds of what `run` gives to the device, by the device's own time where it has one. */
static double seconds_of(const struct bench_device *d, void (*run)(const struct args *a), const struct args *a)
{
    double start = clock_seconds();
    if (d->backend->stamp) d->backend->stamp(d->device, 0);
    run(a);
    if (!d->backend->stamp) return clock_seconds() - start;
    d->backend->stamp(d->device, 1);
    return d->backend->between(d->device, 0, 1);
}

/* The least of several times: what else runs only slows. */
static double least_seconds(const struct bench_device *d, void (*run)(const struct args *a), const struct args *a,
                            double long_enough)
{
    double least = INFINITY, began = clock_seconds();
    do least = fmin(least, seconds_of(d, run, a)); while (clock_seconds() - began < long_enough);
    return least;
}

/* ---- products ---- */

/* Numbers of no pattern that arithmetic could save on. */
static struct tensor numbers(const struct bench_device *d, int64_t rows, int64_t columns, enum format format)
{
    enum { AT_ONCE = 64 };
    size_t row = (size_t)columns * element_bytes(format);
    struct tensor t = { .data = d->backend->alloc(d->device, (size_t)rows * row), .shape = SHAPE(rows, columns),
                        .format = format };
    struct tensor some = { .data = xmalloc(AT_ONCE * row), .shape = SHAPE(AT_ONCE, columns), .format = format };
    real *scratch = xmalloc((size_t)columns * sizeof *scratch);
    for (int64_t r = 0; r < AT_ONCE; r++) {
        real *to = row_write(&some, r * columns, columns, scratch);
        key_normals((struct key){ 1, PURPOSE_TEST, 0, 0 }, (uint64_t)(r * columns), columns, 0, to);
        row_done(&some, r * columns, columns, to);
    }
    for (int64_t r = 0; r < rows; r += AT_ONCE)
        d->backend->put(d->device, (char *)t.data + (size_t)r * row, some.data,
                        (size_t)(rows - r < AT_ONCE ? rows - r : AT_ONCE) * row);
    free(scratch);
    free(some.data);
    return t;
}

static size_t bytes_of(const struct tensor *t) { return (size_t)shape_count(t->shape) * element_bytes(t->format); }

/* As the plan calls it, w packed as weights are. */
double bench_product(const struct bench_device *d, int64_t m, int64_t n, int64_t k)
{
    const struct backend *b = d->backend;
    enum dtype result = DTYPE_ACT;
    enum format act = d->precision == PRECISION_BF16 ? FORMAT_BF16 : FORMAT_REAL;
    struct tensor in[] = { numbers(d, m, k, act), numbers(d, n, k, FORMAT_REAL) },
                  y = { b->alloc(d->device, (size_t)(m * n) * element_bytes(act)), SHAPE(m, n), act, NULL };
    struct args a = { .attr = &result, .n_in = COUNT(in), .in = in, .out = &y, .device = d->device };
    size_t packed = b->packed_bytes(in[1].shape, act), scratch = b->scratch ? b->scratch(OP_matmul, &a) : 0;
    in[1].packed = packed ? b->alloc(d->device, packed) : NULL;
    if (packed) b->pack(d->device, &in[1]);
    a.scratch = scratch ? b->alloc(d->device, scratch) : NULL;
    double least = least_seconds(d, b->kernels(OP_matmul)->forward, &a, d->kind == BACKEND_CPU ? 0.25 : 0.05);
    if (scratch) b->release(d->device, a.scratch, scratch);
    if (packed) b->release(d->device, in[1].packed, packed);
    for (int i = 0; i < COUNT(in); i++) b->release(d->device, in[i].data, bytes_of(&in[i]));
    b->release(d->device, y.data, bytes_of(&y));
    return 2 * (double)(m * n * k) / least;
}

/* A processor is at its best at a few hundred, a GPU at some thousands; sizes end where one product takes long. */
double bench_best_product(const struct bench_device *d, int64_t size[3])
{
    static const struct { int64_t rows, least, most; } widths[BACKEND_KINDS] = { [BACKEND_CPU] = { 2048, 256, 1024 },
                                                                                 [BACKEND_CUDA] = { 0, 256, 8192 } };
    double best = 0, seconds = 0;
    for (int64_t width = widths[d->kind].least; width <= widths[d->kind].most && seconds < 0.1; width *= 2) {
        int64_t rows = widths[d->kind].rows ? widths[d->kind].rows : width;
        double rate = bench_product(d, rows, width, width);
        seconds = 2 * (double)rows * (double)(width * width) / rate;
        if (rate > best) size[0] = rows, size[1] = size[2] = width;
        best = fmax(best, rate);
    }
    return best;
}

/* ---- the best stream ---- */

static const size_t stream_bytes[BENCH_STREAMS] = { 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28 };

struct stream { const struct bench_device *device; char *memory; size_t each; int64_t times; int threads; };

/* A thread goes over its own part again and again, so that what fits into its caches stays there. */
static void copy_parts(const struct args *a, int64_t from, int64_t to)
{
    const struct stream *s = a->attr;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < s->times; k++)
            memcpy(s->memory + (size_t)i * s->each, s->memory + (size_t)i * s->each + s->each / 2, s->each / 2);
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

static void copy_all(const struct args *a) { each(a, ((const struct stream *)a->attr)->threads, 1, copy_parts); }
static void change_all(const struct args *a) { each(a, ((const struct stream *)a->attr)->threads, 1, change_parts); }

/* A device by itself knows no threads. */
static void copy_on_device(const struct args *a)
{
    const struct stream *s = a->attr;
    for (int64_t k = 0; k < s->times; k++)
        s->device->backend->copy(a->device, s->memory, s->memory + s->each / 2, s->each / 2);
}

/* Bytes read and written a second, `bytes` in all: copied, which reads half of them and writes the other half, or
   changed where they are, which reads and writes them all. */
static double stream_rate(const struct bench_device *d, char *memory, size_t bytes)
{
    const double long_enough = 0.05;
    int threads = d->kind == BACKEND_CPU ? d->threads : 1;
    struct stream s = { d, memory, bytes / (size_t)threads / 64 * 64, 1 + (int64_t)((1 << 24) / bytes), threads };
    struct args a = { .attr = &s, .device = d->device };
    double moved = (double)s.each * threads * (double)s.times;
    if (d->kind != BACKEND_CPU) return moved / least_seconds(d, copy_on_device, &a, long_enough);
    return fmax(moved / least_seconds(d, copy_all, &a, long_enough),
                2 * moved / least_seconds(d, change_all, &a, long_enough));
}

void bench_ceiling(struct bench_ceiling *c, const struct bench_device *d, double products)
{
    size_t most = stream_bytes[BENCH_STREAMS - 1];
    char *memory = d->backend->alloc(d->device, most), *ones = memset(xmalloc(stream_bytes[0]), 1, stream_bytes[0]);
    /* Pages are there */
    for (size_t at = 0; at < most; at += stream_bytes[0])
        d->backend->put(d->device, memory + at, ones, stream_bytes[0]);
    free(ones);
    c->products = products;
    for (int i = BENCH_STREAMS - 1; i >= 0; i--) {
        double rate = stream_rate(d, memory, stream_bytes[i]);
        c->stream[i] = i + 1 < BENCH_STREAMS ? fmax(rate, c->stream[i + 1]) : rate;
    }
    d->backend->release(d->device, memory, most);
}

double bench_stream(const struct bench_ceiling *c, double bytes)
{
    int i = 0;
    while (i + 1 < BENCH_STREAMS && (double)stream_bytes[i] < bytes) i++;
    return c->stream[i];
}

/* ---- products of a model's own shapes ---- */

struct products { int n; struct size { int64_t m, n, k; } *size; };

static void add_product(struct products *p, int64_t m, int64_t n, int64_t k)
{
    int i = 0;
    while (i < p->n && (p->size[i].m != m || p->size[i].n != n || p->size[i].k != k)) i++;
    if (i < p->n) return;
    p->size = xrealloc(p->size, (size_t)++p->n * sizeof *p->size);
    p->size[i] = (struct size){ m, n, k };
}

/* y = x w^T and the products of its gradients. Of experts: as many rows with one weight, which the best grouped product
   would equal. */
static void add_products(void *to, const struct call_cost *c)
{
    int op = op_index(c->node->op);
    if (op != OP_matmul && op != OP_grouped_matmul) return;
    struct shape x = c->node->in[0]->shape;
    int64_t k = shape_last(x), m = shape_count(x) / k, n = shape_last(c->node->shape);
    add_product(to, m, n, k);
    add_product(to, m, k, n);
    add_product(to, n, k, m);
}

static json_t *product_json(int64_t m, int64_t n, int64_t k, double rate)
{
    return json_pack("{s:I, s:I, s:I, s:f}", "m", (json_int_t)m, "n", (json_int_t)n, "k", (json_int_t)k,
                     "flops_per_second", rate);
}

json_t *bench_ceilings(const struct bench *b, const struct bench_device *d, const struct bench_ceiling *c,
                       const int64_t best[3])
{
    struct products own = { 0 };
    json_t *streams = json_array(), *products = json_array();
    for (int i = 0; i < BENCH_STREAMS; i++)
        json_array_append_new(streams, json_pack("{s:I, s:f}", "bytes", (json_int_t)stream_bytes[i],
                                                 "bytes_per_second", c->stream[i]));
    json_array_append_new(products, product_json(best[0], best[1], best[2], c->products));
    plan_costs(b->session->plan, 1, add_products, &own);
    for (int i = 0; i < own.n; i++) {
        const struct size *s = &own.size[i];
        json_array_append_new(products, product_json(s->m, s->n, s->k, bench_product(d, s->m, s->n, s->k)));
    }
    free(own.size);
    return json_pack("{s:o, s:o}", "streams", streams, "products", products);
}
