/* y = x w^T of a frozen w that is kept in NF4: see runtime/ops/nf4_matmul.c. Its values, with the bits of the CPU, are
   written once for each product, in the format of the activations, and the product is matmul's or grouped_matmul's,
   whose arithmetic bounds the whole. Bytes: half of one for each value read, two (bf16) written and read again, mostly
   from the second cache; the least is the half. What is written lies in the scratch that all calls share. */
#include "product.cuh"
#include "base/nf4.h"
extern "C" {
#include "parts.h"
extern const struct twin cuda_matmul, cuda_grouped_matmul;
}

enum { X, CODES, OFFSETS };

/* A thread takes the two values of a byte. */
static __global__ void __launch_bounds__(BLOCK)
nf4_dequantise(const unsigned char *kept, struct nf4 places, struct view to)
{
    __shared__ float level[NF4_LEVELS];
    constexpr float table[NF4_LEVELS] = NF4_TABLE;
    if (threadIdx.x == 0) {                                 /* by one thread: at its own index it would lie in memory */
#pragma unroll
        for (int l = 0; l < NF4_LEVELS; l++) level[l] = table[l];
    }
    __syncthreads();
    for (int64_t i = first_item(); 2 * i < places.values; i += all_items()) {
        float size = nf4_size_of(&places, kept, 2 * i / NF4_BLOCK);
        store(to, 2 * i, level[kept[i] >> 4] * size);
        if (2 * i + 1 < places.values) store(to, 2 * i + 1, level[kept[i] & 15] * size);
    }
}

/* The product as matmul or grouped_matmul has it, of values that lie at the head of the scratch. */
struct call { struct tensor in[OFFSETS + 1], din[OFFSETS + 1]; struct args with; size_t bytes; };

static const struct nf4_attr *attr_of(const struct args *a) { return (const struct nf4_attr *)a->attr; }
static bool stacked(const struct args *a) { return attr_of(a)->experts > 0; }
static const struct twin *twin_of(const struct args *a) { return stacked(a) ? &cuda_grouped_matmul : &cuda_matmul; }

static struct shape matrix_of(const struct nf4_attr *at)
{
    struct shape s = {};
    if (at->experts) s.dim[s.rank++] = at->experts;
    s.dim[s.rank++] = at->n;
    s.dim[s.rank++] = at->k;
    return s;
}

static void call_of(const struct args *a, struct call *c)
{
    const struct nf4_attr *at = attr_of(a);
    bool narrow = a->in[X].format == FORMAT_BF16;
    *c = {};
    c->with = *a;
    c->in[X] = a->in[X];
    c->in[CODES].shape = matrix_of(at);
    c->in[CODES].format = narrow ? FORMAT_BF16 : FORMAT_REAL;
    c->in[CODES].data = a->scratch;
    c->in[OFFSETS] = a->in[OFFSETS];
    c->bytes = scratch_round((size_t)shape_count(c->in[CODES].shape) * (narrow ? 2 : 4));
    c->with.in = c->in;
    c->with.n_in = stacked(a) ? OFFSETS + 1 : OFFSETS;
    c->with.scratch = (char *)a->scratch + c->bytes;
    if (!a->din) return;
    c->din[X] = a->din[X];
    c->din[CODES].shape = c->in[CODES].shape;
    c->with.din = c->din;
}

static void dequantise(const struct args *a, const struct call &c)
{
    int64_t n = shape_count(c.in[CODES].shape);
    struct nf4 places = nf4_places((enum kept_as)attr_of(a)->kept, n);
    LAUNCH(a, nf4_dequantise, grid_for(a, (n + 1) / 2, BLOCK), BLOCK, 0, (const unsigned char *)a->in[CODES].data,
           places, view_of(c.in[CODES]));
}

static void forward(const struct args *a)
{
    struct call c;
    call_of(a, &c);
    dequantise(a, c);
    twin_of(a)->kernels.forward(&c.with);
}

static void backward(const struct args *a)
{
    struct call c;
    if (!a->din[X].data) return;
    call_of(a, &c);
    dequantise(a, c);
    twin_of(a)->kernels.backward(&c.with);
}

static size_t scratch(const struct args *a)
{
    struct call c;
    call_of(a, &c);
    return c.bytes + twin_of(a)->scratch(&c.with);
}

TWIN(nf4_matmul, forward, backward, NULL, scratch);
