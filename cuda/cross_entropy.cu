/* -log softmax(h w^T)[target] and its gradients, a chunk of tokens after the other, so that logits never lie
   in memory for all tokens.

   The products bound it, if the vocabulary is large and the width too. Between them memory bounds the rows: logits
   are written once and read once for the sums, and where gradients are wanted read once more and written, as bf16
   in half their place. The least would be nothing, in a product whose logits never leave the registers; it would
   have to make them twice. */
#include "product.cuh"

#include <float.h>

enum { H, W, TARGET };
enum { NLL, LSE, HIT };                                     /* outputs */

/* Tokens in a chunk, at most. Each chunk reads and adds to the gradient of the whole matrix, 8 bytes for CHUNK
   multiply-adds: enough to keep the arithmetic busy. */
enum { CHUNK = 2048 };

/* ---- rows of logits ---- */

/* Of the values seen: the largest and where it is first, and the sum of e^(x - top). */
struct tally { float top, sum; int at; };

static __device__ inline struct tally joined(struct tally a, struct tally b)
{
    float top = fmaxf(a.top, b.top);
    int at = a.top > b.top ? a.at : b.top > a.top ? b.at : min(a.at, b.at);
    return { top, a.sum * __expf(a.top - top) + b.sum * __expf(b.top - top), at };
}

/* Values that are no numbers do not count for the top, but spoil the sum. */
template <int N> static __device__ inline void count(struct tally *t, const float *x, int at)
{
    float top = t->top;
#pragma unroll
    for (int l = 0; l < N; l++)
        if (x[l] > top) {
            top = x[l];
            t->at = at + l;
        }
    t->sum *= __expf(t->top - top);
#pragma unroll
    for (int l = 0; l < N; l++) t->sum += __expf(x[l] - top);
    t->top = top;
}

static __device__ inline struct tally block_tally(struct tally t)
{
    __shared__ struct tally part[BLOCK / WARP];
    for (int step = WARP / 2; step > 0; step /= 2) {
        float top = __shfl_xor_sync(0xFFFFFFFFu, t.top, step), sum = __shfl_xor_sync(0xFFFFFFFFu, t.sum, step);
        t = joined(t, { top, sum, __shfl_xor_sync(0xFFFFFFFFu, t.at, step) });
    }
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = t;
    __syncthreads();
    t = part[0];
    for (int w = 1; w < (int)blockDim.x / WARP; w++) t = joined(t, part[w]);
    return t;
}

/* Rows of one width; what is NULL is not wanted, or is 0. */
struct report { float *nll, *lse, *hit; };

/* cap tanh(x / cap), and the slope where it gives z. Kernels without a cap are compiled without it. */
template <bool CAPPED> static __device__ inline float capped(float x, float cap)
{
    return CAPPED ? cap * hyperbolic_tangent(divide(x, cap)) : x;
}
template <bool CAPPED> static __device__ inline float slope(float z, float cap)
{
    float t = CAPPED ? divide(z, cap) : 0;
    return 1 - t * t;
}
struct incoming { const float *nll, *lse; bool wanted, narrow; };

/* The gradient takes the place of the row, dx = dnll (p - onehot) + dlse p with p = e^(x - top) / sum. Narrow, it
   takes the first half of it: a value comes to lie where only values before it were, so all threads read theirs of a
   stretch before any writes. */
template <bool CAPPED>
static __device__ inline void differ(float *row, int vocab, int whole, int target, struct tally t, float dnll, float by,
                                     float cap, bool narrow)
{
    struct view dx = { row, narrow };
    for (int first = 0; first < whole; first += (int)blockDim.x * LANES) {
        int v = first + (int)threadIdx.x * LANES;
        struct eight x;
        if (v < whole) x = load8({ row, false }, v);
        __syncthreads();
        if (v >= whole) continue;
#pragma unroll
        for (int l = 0; l < LANES; l++) {
            float z = capped<CAPPED>(x.v[l], cap);
            x.v[l] = (by * __expf(z - t.top) - (v + l == target ? dnll : 0)) * slope<CAPPED>(z, cap);
        }
        store8(dx, v, x);
    }
    for (int first = whole; first < vocab; first += (int)blockDim.x) {
        int v = first + (int)threadIdx.x;
        float z = v < vocab ? capped<CAPPED>(row[v], cap) : 0;
        __syncthreads();
        if (v < vocab) store(dx, v, (by * __expf(z - t.top) - (v == target ? dnll : 0)) * slope<CAPPED>(z, cap));
    }
}

/* A block a row, of as many warps as find eight values a thread, up to BLOCK threads. */
template <bool CAPPED>
static __global__ void __launch_bounds__(BLOCK)
cross_entropy_rows(float *logits, int vocab, const int *targets, float cap, struct report out, struct incoming in,
                   struct fault *fault)
{
    float *row = logits + (int64_t)blockIdx.x * vocab;
    /* else rows are not aligned to 16 bytes */
    int target = targets[blockIdx.x], whole = vocab % 4 ? 0 : vocab / LANES * LANES;
    if (!legal(fault, FAULT_TARGET, target, vocab)) target = 0;
    struct tally t = { -FLT_MAX, 0, INT32_MAX };
    for (int v = (int)threadIdx.x * LANES; v < whole; v += (int)blockDim.x * LANES) {
        struct eight x = load8({ row, false }, v);
#pragma unroll
        for (int l = 0; l < LANES; l++) x.v[l] = capped<CAPPED>(x.v[l], cap);
        count<LANES>(&t, x.v, v);
    }
    for (int v = whole + (int)threadIdx.x; v < vocab; v += (int)blockDim.x) {
        float z = capped<CAPPED>(row[v], cap);
        count<1>(&t, &z, v);
    }
    t = block_tally(t);
    if (out.nll && threadIdx.x == 0) {
        float lse = logf(t.sum), chosen = capped<CAPPED>(row[target], cap);
        out.nll[blockIdx.x] = lse - (chosen - t.top);
        out.lse[blockIdx.x] = lse + t.top;
        out.hit[blockIdx.x] = t.at == target;
    }
    if (!in.wanted) return;
    float dnll = in.nll ? in.nll[blockIdx.x] : 0, dlse = in.lse ? in.lse[blockIdx.x] : 0;
    differ<CAPPED>(row, vocab, whole, target, t, dnll, divide(dnll + dlse, t.sum), cap, in.narrow);
}

/* ---- chunks ---- */

struct chunk { struct operand h, w, logits, dx, dh, dw; bool narrow; };

static struct chunk chunk_of(const struct args *a)
{
    int64_t width = a->in[H].shape.dim[1], tokens = a->in[H].shape.dim[0], vocab = a->in[W].shape.dim[0];
    int64_t n = blocks_of(tokens, blocks_of(tokens, CHUNK));
    struct operand h = operand_of(a->in[H], width), w = operand_of(a->in[W], width);
    struct operand logits = { a->scratch, NULL, false, n, vocab, vocab, false };
    /* where the logits were */
    struct operand dx = { a->scratch, NULL, h.bf16, n, vocab, h.bf16 ? 2 * vocab : vocab, false };
    return { h, w, logits, dx, h, w, h.bf16 };
}

static unsigned row_threads(int64_t vocab)
{
    return WARP * (unsigned)(vocab < BLOCK * LANES ? blocks_of(vocab, WARP * LANES) : BLOCK / WARP);
}

static size_t logits_bytes(const struct chunk &c)
{
    return scratch_round((size_t)(c.logits.rows * c.logits.cols) * sizeof(float));
}

static struct report report_of(const struct args *a, int64_t first)
{
    return { (float *)a->out[NLL].data + first, (float *)a->out[LSE].data + first, (float *)a->out[HIT].data + first };
}

static struct incoming incoming_of(const struct args *a, int64_t first, bool narrow)
{
    const float *nll = (const float *)a->dout[NLL].data, *lse = (const float *)a->dout[LSE].data;
    return { nll ? nll + first : NULL, lse ? lse + first : NULL, true, narrow };
}

static double softcap_of(const struct args *a) { return ((const struct cross_entropy_attr *)a->attr)->softcap; }

template <bool CAPPED>
static void rows_of_chunk(const struct args *a, const struct chunk &c, int64_t first, int64_t n, bool outputs,
                          bool gradients)
{
    const struct report none = {};
    const struct incoming nothing = {};
    LAUNCH(a, cross_entropy_rows<CAPPED>, (unsigned)n, row_threads(c.w.rows), 0, (float *)c.logits.data, (int)c.w.rows,
           ints(&a->in[TARGET]) + first, (float)softcap_of(a), outputs ? report_of(a, first) : none,
           gradients ? incoming_of(a, first, c.narrow) : nothing, device_of(a)->fault);
}

/* dh = dx w;  dw = dx^T h, chunk after chunk. Forward wants the outputs, backward the gradients, joint both. */
static void chunks(const struct args *a, bool outputs, bool gradients)
{
    double cap = softcap_of(a);
    struct chunk c = chunk_of(a);
    char *rest = (char *)a->scratch + logits_bytes(c);
    int64_t tokens = c.h.rows, most = c.logits.rows;
    if (gradients) {
        c.dh.data = a->din[H].data;
        c.dw.data = a->din[W].data;
    }
    for (int64_t first = 0; first < tokens; first += most) {
        int64_t n = tokens - first < most ? tokens - first : most;
        struct operand h = operand_rows(c.h, first, n);
        c.logits.rows = c.dx.rows = n;
        product(a, { h, operand_transposed(c.w), c.logits, 0, c.narrow }, rest);
        if (cap == 0) rows_of_chunk<false>(a, c, first, n, outputs, gradients);
        else rows_of_chunk<true>(a, c, first, n, outputs, gradients);
        if (!gradients) continue;
        if (c.dh.data) product(a, { c.dx, c.w, operand_rows(c.dh, first, n), a->beta[H], c.narrow }, rest);
        if (c.dw.data) product(a, { operand_transposed(c.dx), h, c.dw, first ? 1 : a->beta[W], c.narrow }, rest);
    }
}

static void forward(const struct args *a) { chunks(a, true, false); }
static void backward(const struct args *a) { chunks(a, false, true); }
static void joint(const struct args *a) { chunks(a, true, true); }

static size_t scratch(const struct args *a)
{
    struct chunk c = chunk_of(a);
    return logits_bytes(c) + operand_scratch(c.w, c.narrow) + product_scratch({ c.dx, c.h, c.dw, 0, c.narrow });
}

TWIN(cross_entropy, forward, backward, joint, scratch);
