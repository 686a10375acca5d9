/* Planted bugs in kernels: BUG is the mistake, false its clean twin. Each leaves a value that the compiler cannot remove. */
#include "planted.h"

#include <cuda_bf16.h>
#include <dlfcn.h>
#include <stdint.h>

enum { N = 256 };

static cudaStream_t stream()
{
    static cudaStream_t s;
    if (!s) cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    return s;
}

/* RUN(kernel, blocks, threads, dynamic bytes, arguments...) launches kernel<false> or kernel<true> and waits. */
#define RUN(kernel, blocks, threads, bytes, ...) do { \
    if (bug) kernel<true><<<blocks, threads, bytes, stream()>>>(__VA_ARGS__); else kernel<false><<<blocks, threads, bytes, stream()>>>(__VA_ARGS__); \
    cudaStreamSynchronize(stream()); } while (0)

/* ---- order within a block ---- */

template <bool BUG> static __global__ void __launch_bounds__(N) missing_barrier(float *y, const float *x)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    s[t] = x[t];
    if (!BUG) __syncthreads();
    y[t] = s[N - 1 - t];
}

template <bool BUG> static __global__ void __launch_bounds__(N) tile_overwritten(float *y, const float *x)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    float sum = 0;
    for (int tile = 0; tile < 4; tile++) {
        s[t] = x[tile * N + t];
        __syncthreads();
        sum += s[(t + 37) % N];
        if (!BUG) __syncthreads();
    }
    y[t] = sum;
}

template <bool BUG> static __global__ void __launch_bounds__(N) missing_async_wait(float *y, const float *x)
{
    __shared__ __align__(16) float s[4 * N];
    int t = threadIdx.x;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"((unsigned)__cvta_generic_to_shared(s + 4 * t)), "l"(x + 4 * t) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    if (!BUG) asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    y[t] = s[4 * ((t + 1) % N)];
}

template <bool BUG> static __global__ void __launch_bounds__(N) missing_syncwarp(float *y, const float *x)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    s[t] = x[t];
    if (!BUG) __syncwarp();
    y[t] = s[t ^ 1];
}

/* A shuffle moves registers; it does not order memory. */
template <bool BUG> static __global__ void __launch_bounds__(32) shuffle_for_syncwarp(float *y, const float *x)
{
    __shared__ float s[32];
    int t = threadIdx.x;
    s[t] = x[t];
    float other = __shfl_xor_sync(~0u, x[t], 1);
    if (!BUG) __syncwarp();
    y[t] = s[t ^ 1] - other;
}

template <bool BUG> static __global__ void __launch_bounds__(N) histogram(int *count, const float *x)
{
    int bin = (int)x[threadIdx.x] % 16;
    if (BUG) count[bin]++;
    else atomicAdd(&count[bin], 1);
}

template <bool BUG> static __global__ void __launch_bounds__(N) atomic_and_plain(int *count, int *seen)
{
    atomicAdd(count, 1);
    if (BUG) seen[threadIdx.x] = *(volatile int *)count;
    else seen[threadIdx.x] = atomicAdd(count, 0);
}

/* Blocks of one launch have no order. */
template <bool BUG> static __global__ void __launch_bounds__(N) blocks_share_sum(float *sum, const float *x)
{
    if (threadIdx.x == 0) sum[BUG ? 0 : blockIdx.x] = x[blockIdx.x];
}

template <bool BUG> static __global__ void __launch_bounds__(N) last_block(float *part, const float *x)
{
    int b = blockIdx.x;
    part[b * N + threadIdx.x] = x[threadIdx.x];
    if (BUG && b == gridDim.x - 1) part[b * N + threadIdx.x] += part[threadIdx.x];
}

/* ---- bounds, alignment, values never written ---- */

template <bool BUG> static __global__ void __launch_bounds__(N) row_past_matrix(float *y, int columns)
{
    for (int c = threadIdx.x; c < columns + BUG; c += N) y[blockIdx.x * columns + c] = (float)c;
}

template <bool BUG> static __global__ void __launch_bounds__(N) past_allocation(float *y) { y[threadIdx.x + BUG] = 1; }
template <bool BUG> static __global__ void __launch_bounds__(N) before_allocation(float *y, const float *x) { y[threadIdx.x] = x[(int)threadIdx.x - BUG]; }
template <bool BUG> static __global__ void __launch_bounds__(N) into_gap(float *slab) { slab[threadIdx.x + (BUG ? 8 : 0)] = 1; }

template <bool BUG> static __global__ void __launch_bounds__(N) missing_last_vector(float4 *y, int vectors)
{
    for (int i = threadIdx.x; i < vectors - BUG; i += N) y[i] = make_float4(1, 2, 3, 4);
}

template <bool BUG> static __global__ void __launch_bounds__(N) uninitialised(float *y, const float *x) { y[threadIdx.x] = x[threadIdx.x + (BUG ? 1 : 0)]; }
template <bool BUG> static __global__ void __launch_bounds__(N) misaligned(float4 *y, const float *x) { y[threadIdx.x] = *(const float4 *)(x + 4 * threadIdx.x + BUG); }

template <bool BUG> static __global__ void __launch_bounds__(N) half_tile(float *y, const float *x)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    if (!BUG || t < N / 2) s[t] = x[t];
    __syncthreads();
    y[t] = s[N - 1 - t];
}

template <bool BUG> static __global__ void __launch_bounds__(N) dynamic_too_small(float *y)
{
    extern __shared__ float s[];
    s[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = s[N - 1 - threadIdx.x];
}

template <bool BUG> static __global__ void __launch_bounds__(N) next_array(float *y, const float *x)
{
    __shared__ float a[N], b[N];
    int t = threadIdx.x;
    b[t] = x[t];
    a[t + BUG] = x[t];
    __syncthreads();
    y[t] = a[N - 1 - t] + b[(t + 1) % N];
}

template <bool BUG> static __global__ void __launch_bounds__(N) sum_not_zeroed(float *sum, const float *x) { atomicAdd(sum + (BUG ? 1 : 0), x[threadIdx.x]); }

/* ---- barriers and lanes ---- */

template <bool BUG> static __global__ void __launch_bounds__(N) divergent_barrier(float *y, const float *x)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    s[t] = x[t];
    if (!BUG) __syncthreads();
    if (t < 64) {
        if (BUG) __syncthreads();
        y[t] = s[N - 1 - t];
    } else {
        if (BUG) __syncthreads();
        y[t] = 2 * s[(t + 5) % N] + 1;
    }
}

template <bool BUG> static __global__ void __launch_bounds__(N) exits_before_barrier(float *y, const float *x, int n)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    if (BUG && t >= n) return;
    s[t] = x[t];
    __syncthreads();
    if (t < n) y[t] = s[n - 1 - t];
}

template <bool BUG> static __global__ void __launch_bounds__(N) barrier_in_loop(float *y, const float *x)
{
    __shared__ float s[N];
    int t = threadIdx.x;
    float sum = 0;
    for (int i = 0; i < (BUG ? t % 3 + 1 : 3); i++) {
        s[t] = x[t] + (float)i;
        __syncthreads();
        sum += s[t];
    }
    y[t] = sum;
}

template <bool BUG> static __global__ void __launch_bounds__(32) barrier_or_syncwarp(float *y, const float *x)
{
    int t = threadIdx.x;
    y[t] = x[t];
    if (BUG && t == 0) __syncthreads();
    else __syncwarp();
    y[t] += 1;
}

template <bool BUG> static __global__ void __launch_bounds__(32) exited_lane(float *y, const float *x, int n)
{
    int t = threadIdx.x;
    if (BUG && t >= n) return;
    float v = x[t];
    for (int k = 16; k; k /= 2) v += __shfl_xor_sync(~0u, v, k);
    if (t < n) y[t] = v;
}

template <bool BUG> static __global__ void __launch_bounds__(32) source_outside_mask(float *y, const float *x)
{
    int t = threadIdx.x;
    if (t < 16) y[t] = __shfl_sync(0xFFFFu, x[t], BUG ? t + 16 : 15 - t);
}

template <bool BUG> static __global__ void __launch_bounds__(32) caller_outside_mask(float *y, const float *x, unsigned mask)
{
    int t = threadIdx.x;
    y[t] = __shfl_sync(mask, x[t], 0);
}

template <bool BUG> static __global__ void __launch_bounds__(32) masks_differ(float *y, const float *x)
{
    int t = threadIdx.x;
    y[t] = __shfl_sync(BUG && t == 3 ? 0x0000FFFFu : ~0u, x[t], 0);
}

template <bool BUG> static __global__ void __launch_bounds__(N) reads(float *y, const float *x) { y[threadIdx.x] = x[threadIdx.x]; }

template <bool BUG> static __global__ void __launch_bounds__(N) pair_race(__nv_bfloat16 *y, const float *x)
{
    int t = threadIdx.x;
    if (BUG) *(__nv_bfloat162 *)(y + t / 4 * 2) = __floats2bfloat162_rn(x[t], x[t]);
    else y[t] = __float2bfloat16(x[t]);
}

/* ---- how each is called ---- */

#define CALL(name, ...) static void run_##name(bool bug) { __VA_ARGS__ }
#define PLAIN(name) CALL(name, RUN(name, 1, N, 0, planted_floats(N, false), planted_floats(N, true));)
#define WARP(name) CALL(name, RUN(name, 1, 32, 0, planted_floats(32, false), planted_floats(32, true));)

static int *zeroes(int n)
{
    int *device = NULL;
    cudaMalloc((void **)&device, n * sizeof *device);
    cudaMemset(device, 0, n * sizeof *device);
    return device;
}

PLAIN(missing_barrier)
PLAIN(missing_syncwarp)
PLAIN(half_tile)
PLAIN(next_array)
PLAIN(divergent_barrier)
PLAIN(barrier_in_loop)
PLAIN(before_allocation)
WARP(shuffle_for_syncwarp)
WARP(barrier_or_syncwarp)
WARP(source_outside_mask)
WARP(masks_differ)
CALL(tile_overwritten, RUN(tile_overwritten, 1, N, 0, planted_floats(N, false), planted_floats(4 * N, true));)
CALL(missing_async_wait, RUN(missing_async_wait, 1, N, 0, planted_floats(N, false), planted_floats(4 * N, true));)
CALL(histogram, RUN(histogram, 1, N, 0, zeroes(16), planted_floats(N, true));)
CALL(atomic_and_plain, RUN(atomic_and_plain, 1, N, 0, zeroes(1), zeroes(N));)
CALL(blocks_share_sum, RUN(blocks_share_sum, 4, N, 0, planted_floats(4, false), planted_floats(4, true));)
CALL(last_block, RUN(last_block, 4, N, 0, planted_floats(4 * N, true), planted_floats(N, true));)
CALL(row_past_matrix, RUN(row_past_matrix, 4, N, 0, planted_floats(4 * 100 + 1, false), 100);)
CALL(past_allocation, RUN(past_allocation, 1, N, 0, planted_floats(N, false));)
CALL(misaligned, RUN(misaligned, 1, N, 0, (float4 *)planted_floats(4 * N, false), planted_floats(4 * N + 4, true));)
CALL(dynamic_too_small, RUN(dynamic_too_small, 1, N, (bug ? N / 2 : N) * sizeof(float), planted_floats(N, false));)
CALL(exits_before_barrier, RUN(exits_before_barrier, 1, N, 0, planted_floats(N, false), planted_floats(N, true), 100);)
CALL(exited_lane, RUN(exited_lane, 1, 32, 0, planted_floats(32, false), planted_floats(32, true), 28);)
CALL(caller_outside_mask, RUN(caller_outside_mask, 1, 32, 0, planted_floats(32, false), planted_floats(32, true), bug ? ~0u >> 1 : ~0u);)
CALL(pair_race, RUN(pair_race, 1, N, 0, (__nv_bfloat16 *)planted_floats(N, false), planted_floats(N, true));)
CALL(sum_not_zeroed, float *sum = planted_floats(2, false); cudaMemset(sum, 0, 4); RUN(sum_not_zeroed, 1, N, 0, sum, planted_floats(N, true));)

CALL(missing_last_vector,
    float *y = planted_floats(N, false), got[N];
    RUN(missing_last_vector, 1, N, 0, (float4 *)y, N / 4);
    planted_fetch(got, y, N);)

CALL(uninitialised,
    float *x = planted_floats(N + 1, false);
    cudaMemset(x, 0, N * sizeof *x);
    RUN(uninitialised, 1, N, 0, planted_floats(N, false), x);)

/* A slab of two tensors of 100 floats, each begun at a multiple of 256 bytes. */
CALL(into_gap,
    float *slab = planted_floats(228, false);
    void (*range)(uint64_t, uint64_t) = (void (*)(uint64_t, uint64_t))dlsym(RTLD_DEFAULT, "ph_check_range");
    void (*gap)(uint64_t, uint64_t) = (void (*)(uint64_t, uint64_t))dlsym(RTLD_DEFAULT, "ph_check_gap");
    if (gap) gap((uintptr_t)slab, 912);
    if (range) range((uintptr_t)slab, 400);
    if (range) range((uintptr_t)slab + 512, 400);
    RUN(into_gap, 1, 100, 0, slab);)

CALL(host_pointer, static float host[N]; RUN(reads, 1, N, 0, planted_floats(N, false), bug ? host : planted_floats(N, true));)

CALL(freed_operand,
    float *x = planted_floats(N, true), *other = planted_floats(N, true);
    cudaFree(bug ? x : other);
    RUN(reads, 1, N, 0, planted_floats(N, false), x);)

#define ROW(name, words) { #name, run_##name, words, 0 }

extern "C" const struct planted planted_kernels[] = {
    ROW(missing_barrier, "race: "), ROW(tile_overwritten, "race: "), ROW(missing_async_wait, "uninitialised read: read of 4 bytes at shared"),
    ROW(missing_syncwarp, "race: "), ROW(shuffle_for_syncwarp, "race: "), ROW(histogram, "race: "), ROW(atomic_and_plain, "race: "),
    ROW(blocks_share_sum, "race: write of 4 bytes"), ROW(last_block, "race: "), ROW(row_past_matrix, "race: write of 4 bytes"), ROW(pair_race, "race: write of 4 bytes"),
    ROW(past_allocation, "out of bounds: write of 4 bytes"), ROW(before_allocation, "out of bounds: read of 4 bytes"),
    ROW(into_gap, "between the ranges of its allocation"), ROW(missing_last_vector, "is never written"), ROW(uninitialised, "uninitialised read: read of 4 bytes"),
    ROW(sum_not_zeroed, "uninitialised read: atomic"), ROW(misaligned, "misaligned: read of 16 bytes"), ROW(half_tile, "uninitialised read: read of 4 bytes at shared"),
    ROW(dynamic_too_small, "out of bounds: write of 4 bytes at shared address"), ROW(next_array, "out of bounds: write of 4 bytes at shared address"),
    ROW(divergent_barrier, "divergent barrier: other threads"), ROW(exits_before_barrier, "divergent barrier: 100 threads reach it, 156 have exited"),
    ROW(barrier_in_loop, "divergent barrier: "), ROW(barrier_or_syncwarp, "deadlock: "), ROW(exited_lane, "which has exited"),
    ROW(source_outside_mask, "which is not in its mask"), ROW(caller_outside_mask, "leaves out the calling lane"), ROW(masks_differ, "lanes disagree"),
    ROW(host_pointer, "neither device nor shared nor local memory"), ROW(freed_operand, "use after free: read of 4 bytes"),
    { NULL, NULL, NULL, 0 }
};
