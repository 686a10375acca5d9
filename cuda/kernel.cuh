/* What the files of kernels share. cuda/<family>.cu holds, for each op of its family, the kernels and the host
   functions that launch them, and last the op's row of the table:

       TWIN(swiglu, forward, backward);

   A host function has the signature of a CPU kernel and the same contract (runtime/backend/kernel.h): tensors
   lie in device memory, backward adds (din = beta*din + g, beta 0: not read), a NULL din is not wanted. It
   launches on the device's stream and returns; it never waits, allocates, or reads device memory, so that a step
   can be recorded as a graph.

   Activations are bf16 or float. Kernels that memory bounds are compiled once: a view reads and writes eight values at
   a time, and its format is a branch that all threads take alike. */
#ifndef SLUICE_CUDA_KERNEL_CUH
#define SLUICE_CUDA_KERNEL_CUH

extern "C" {
#include "twin.h"
}
#include "device.h"

#include <cuda_bf16.h>

/* TWIN(op, forward, backward, joint, scratch); what is left out is NULL. */
#define TWIN(name, ...) \
    extern "C" { extern const struct twin cuda_##name; } const struct twin cuda_##name = { __VA_ARGS__ }

enum { WARP = 32, BLOCK = 256, LANES = 8 };    /* LANES: values that a thread reads at a time, 16 bytes of bf16 */

static inline struct device *device_of(const struct args *a) { return (struct device *)a->device; }

/* Blocks for n items of which a block takes `per`; kernels loop over the grid, and a few blocks a
   multiprocessor fill it. */
static inline int grid_for(const struct args *a, int64_t n, int64_t per)
{
    int64_t blocks = (n + per - 1) / per, most = 8 * device_of(a)->multiprocessors;
    return (int)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

/* LAUNCH(a, kernel, grid, block, shared bytes, arguments...) */
#define LAUNCH(a, kernel_, grid, block, shared, ...) do { \
    kernel_<<<(grid), (block), (shared), device_of(a)->stream>>>(__VA_ARGS__); \
    CUDA(cudaGetLastError()); \
} while (0)

/* Shared memory beyond 48 KiB must be asked for. */
#define LAUNCH_SHARED(a, kernel_, grid, block, bytes, ...) do { \
    auto *chosen_ = &kernel_; \
    CUDA(cudaFuncSetAttribute(chosen_, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes))); \
    LAUNCH(a, chosen_, grid, block, bytes, __VA_ARGS__); \
} while (0)

/* Every thread's walk over n items: for (int64_t i = first_item(); i < n; i += all_items()). */
static __device__ inline int64_t first_item() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ inline int64_t all_items() { return (int64_t)gridDim.x * blockDim.x; }

/* ---- faults ---- */

/* Whether 0 <= value < limit. If not, the host hears of the first such value, and the kernel goes on
   with one that is legal. */
static __device__ inline bool legal(struct fault *fault, enum fault_kind kind, int64_t value, int64_t limit)
{
    if (value >= 0 && value < limit) return true;
    if (atomicCAS(&fault->kind, FAULT_NONE, kind) == FAULT_NONE) {
        fault->value = value;
        fault->limit = limit;
    }
    return false;
}

/* ---- views ---- */

struct view { void *data; bool bf16; };
static inline struct view view_of(const struct tensor &t) { return { t.data, t.format == FORMAT_BF16 }; }

/* A gradient to add to: din = beta*din + g. data NULL: not wanted. */
struct sum { struct view to; float beta; };

static inline struct sum sum_of(const struct args *a, int input)
{
    return { view_of(a->din[input]), a->din[input].data ? a->beta[input] : 0 };
}

struct eight { float v[LANES]; };

static __device__ inline float bf16_low(uint32_t two) { return __uint_as_float(two << 16); }
static __device__ inline float bf16_high(uint32_t two) { return __uint_as_float(two & 0xFFFF0000u); }
static __device__ inline uint32_t bf16_two(float low, float high)
{
    __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&two);
}

static __device__ inline float load(struct view x, int64_t i)
{
    return x.bf16 ? __bfloat162float(((const __nv_bfloat16 *)x.data)[i]) : ((const float *)x.data)[i];
}
static __device__ inline void store(struct view x, int64_t i, float value)
{
    if (x.bf16) ((__nv_bfloat16 *)x.data)[i] = __float2bfloat16_rn(value);
    else ((float *)x.data)[i] = value;
}
/* As it will be read again. */
static __device__ inline float as_stored(struct view y, float x) { return y.bf16 ? bf16_low(bf16_two(x, 0)) : x; }

static __device__ inline void add(struct sum s, int64_t i, float g)
{
    if (s.to.data) store(s.to, i, s.beta == 0 ? g : s.beta * load(s.to, i) + g);
}

/* Eight values from a multiple of eight. */
static __device__ inline struct eight load8(struct view x, int64_t i)
{
    struct eight e;
    if (x.bf16) {
        uint4 w = *reinterpret_cast<const uint4 *>((const __nv_bfloat16 *)x.data + i);
        e = { { bf16_low(w.x), bf16_high(w.x), bf16_low(w.y), bf16_high(w.y), bf16_low(w.z), bf16_high(w.z),
                bf16_low(w.w), bf16_high(w.w) } };
    } else {
        const float4 *p = reinterpret_cast<const float4 *>((const float *)x.data + i);
        float4 a = p[0], b = p[1];
        e = { { a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w } };
    }
    return e;
}
static __device__ inline void store8(struct view x, int64_t i, const struct eight &e)
{
    if (x.bf16) {
        *reinterpret_cast<uint4 *>((__nv_bfloat16 *)x.data + i) = make_uint4(
            bf16_two(e.v[0], e.v[1]), bf16_two(e.v[2], e.v[3]), bf16_two(e.v[4], e.v[5]), bf16_two(e.v[6], e.v[7]));
    } else {
        float4 *p = reinterpret_cast<float4 *>((float *)x.data + i);
        p[0] = make_float4(e.v[0], e.v[1], e.v[2], e.v[3]);
        p[1] = make_float4(e.v[4], e.v[5], e.v[6], e.v[7]);
    }
}
static __device__ inline void add8(struct sum s, int64_t i, const struct eight &g)
{
    if (!s.to.data) return;
    struct eight sum = g;
    if (s.beta != 0) {
        struct eight old = load8(s.to, i);
        for (int l = 0; l < LANES; l++) sum.v[l] += s.beta * old.v[l];
    }
    store8(s.to, i, sum);
}

/* ---- functions ---- */

/* Division by the exact instruction would be a call that spills; two units in the last place are enough here. */
static __device__ inline float divide(float x, float y) { return __fdividef(x, y); }
static __device__ inline float sigmoid(float x) { return divide(1.0f, 1.0f + __expf(-x)); }
/* Good to 2e-7; of a small x the fraction would lose digits. */
static __device__ inline float hyperbolic_tangent(float x)
{
    float w = x * x, near = x * (1 - w * (0.33333333f - w * (0.13333333f - w * 0.05396825f)));
    return w < 0.01f ? near : 1 - divide(2, 1 + __expf(2 * x));
}

/* ---- reductions ---- */

/* Over the lanes of a warp, in the order of a butterfly: every lane gets the same bits. */
template <typename T> static __device__ inline T warp_sum(T x)
{
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}
template <typename T> static __device__ inline T warp_max(T x)
{
    for (int step = WARP / 2; step > 0; step /= 2) {
        T other = __shfl_xor_sync(0xFFFFFFFFu, x, step);
        x = other > x || other != other ? other : x;
    }
    return x;
}

/* Over the threads of a block of whole warps; every thread gets the result. May be called again at once. */
template <typename T> static __device__ inline T block_sum(T x)
{
    __shared__ T part[WARP];
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    T sum = 0;
    for (unsigned w = 0; w < blockDim.x / WARP; w++) sum += part[w];
    __syncthreads();
    return sum;
}
template <typename T> static __device__ inline T block_max(T x)
{
    __shared__ T part[WARP];
    x = warp_max(x);
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / WARP; w++) x = part[w] > x || part[w] != part[w] ? part[w] : x;
    __syncthreads();
    return x;
}

#endif
