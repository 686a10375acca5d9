/* Fibers, barriers, warp-wide instructions and the checker, with kernels written by hand as a translation would have them. Run it under
   several PTXHOST_SEEDs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <cuda_runtime_api.h>
#include "misuse.h"
#include "ptxhost.h"

enum { LINES = 64, VALUES = 4096 };
static struct ph_site sites[LINES];                         /* line i of core.cu */
static uint64_t values;                                     /* an allocation of VALUES floats, of which the first half is written */

#define HERE (&sites[__LINE__ % LINES])
#define T (ph_now->linear)
#define VALUE(i) (values + 4 * (uint64_t)(i))
#define SHARED(i) (PH_SHARED + 4 * (uint64_t)(i))

static char *storage(uint64_t address) { return ph_is_device(address) ? ph_storage(address) : ph_here.shared + (address - PH_SHARED); }

static float get(uint64_t address, const struct ph_site *site)
{
    ph_access(address, 4, PH_READ, site);
    return *(float *)(void *)storage(address);
}

static void put(uint64_t address, float x, const struct ph_site *site)
{
    ph_access(address, 4, PH_WRITE, site);
    *(float *)(void *)storage(address) = x;
}

static void count(uint64_t address, const struct ph_site *site)
{
    ph_access(address, 4, PH_ATOMIC, site);
    *(float *)(void *)storage(address) += 1;
}

static void launch_shared(const char *name, void (*run)(const unsigned char *), uint32_t blocks, uint32_t threads, uint32_t dynamic_bytes)
{
    static const struct ph_range arrays[] = { { 0, 1024 }, { 1088, 2112 } };    /* 256 floats, a red zone, 256 floats */
    struct ph_kernel k = { .name = name, .run = run, .shared_bytes = 2112, .arrays = 2, .array = arrays, .sites = sites };
    ph_grid(&k, (struct ph_dim){ blocks, 1, 1 }, (struct ph_dim){ threads, 1, 1 }, dynamic_bytes, NULL);
}

static void launch(const char *name, void (*run)(const unsigned char *), uint32_t blocks, uint32_t threads) { launch_shared(name, run, blocks, threads, 0); }

#define KERNEL(name) static void name(const unsigned char *params)
#define UNUSED (void)params

/* ---- kernels without a mistake ---- */

static void sum_lanes(void *const operands[32], uint32_t mask)
{
    float sum = 0;
    for (int i = 0; i < 32; i++) if (mask >> i & 1) sum += *(float *)operands[i];
    for (int i = 0; i < 32; i++) if (mask >> i & 1) *(float *)operands[i] = sum;
}

/* value[block] += the sum of 256 values: within warps, then over warps through shared memory. */
KERNEL(block_sum)
{
    UNUSED;
    float x = get(VALUE(256 + T), HERE);
    ph_warp(~0u, sum_lanes, &x, HERE);
    if (ph_now->lane == 0) put(SHARED(ph_now->warp), x, HERE);
    ph_barrier(HERE);
    float sum = 0;
    for (uint32_t w = 0; w < 8; w++) sum += get(SHARED(w), HERE);
    if (T == 0) put(VALUE(ph_here.linear), sum + get(VALUE(ph_here.linear), HERE), HERE);
}

/* Halves of a warp work apart, then exchange through shared memory. */
KERNEL(half_warps)
{
    UNUSED;
    uint32_t half = ph_now->lane < 16 ? 0xFFFF : 0xFFFF0000;
    put(SHARED(T), (float)T, HERE);
    ph_warp_sync(half, HERE);
    float x = get(SHARED(T ^ 8), HERE);
    ph_warp(half, sum_lanes, &x, HERE);
    ph_warp_sync(~0u, HERE);
    put(SHARED(T ^ 16), x, HERE);
    ph_barrier(HERE);
    if (ph_barrier_reduce(T % 3 == 0, PH_POPC, HERE) != (ph_here.threads + 2) / 3 || !ph_barrier_reduce(T == 40, PH_OR, HERE) || ph_barrier_reduce(T != 40, PH_AND, HERE))
        ph_report("a barrier's reduction is wrong");
}

KERNEL(histogram) { UNUSED; count(VALUE(T % 4), HERE); }
KERNEL(own_value) { UNUSED; put(VALUE(2048 + ph_here.linear * 64 + T), get(VALUE(ph_here.linear * 64 + T), HERE), HERE); }

static void clean_kernels(void **state)
{
    (void)state;
    float x[2] = { 0 }, half[VALUES / 2];
    for (int i = 0; i < VALUES / 2; i++) half[i] = i < 256 ? 0 : (float)(i % 7);
    assert_int_equal(cudaMemcpy((void *)(uintptr_t)values, half, sizeof half, cudaMemcpyHostToDevice), 0);
    launch("block_sum", block_sum, 7, 256);
    launch("half_warps", half_warps, 3, 64);
    launch("histogram", histogram, 4, 128);
    launch("own_value", own_value, 4, 64);
    float sum = 128;
    for (int i = 0; i < 256; i++) sum += half[256 + i];
    assert_int_equal(cudaMemcpy(x, (void *)(uintptr_t)values, sizeof x, cudaMemcpyDeviceToHost), 0);
    assert_true(x[0] == sum && x[1] == sum);
    assert_int_equal(ph_reports(), 0);
}

/* ---- mistakes ---- */

KERNEL(neighbour) { UNUSED; put(SHARED(T), 1, HERE); get(SHARED(T ^ 33), HERE); }
KERNEL(overwritten) { UNUSED; put(SHARED(T), 1, HERE); ph_barrier(HERE); get(SHARED(T ^ 33), HERE); put(SHARED(T), 2, HERE); }
KERNEL(same_warp) { UNUSED; put(SHARED(T), 1, HERE); float x = 0; ph_warp(~0u, sum_lanes, &x, HERE); get(SHARED(T ^ 1), HERE); }
KERNEL(other_half) { UNUSED; put(SHARED(T), 1, HERE); if (T < 16) ph_warp_sync(0xFFFF, HERE); get(SHARED(T ^ 16), HERE); }
KERNEL(blocks_meet) { UNUSED; put(VALUE(T), 1, HERE); }
KERNEL(block_reads_later) { UNUSED; if (ph_here.linear == 1) put(VALUE(T), 1, HERE); ph_barrier(HERE); get(VALUE(T), HERE); }
KERNEL(plain_count) { UNUSED; put(VALUE(T % 4), get(VALUE(T % 4), HERE) + 1, HERE); }
KERNEL(atomic_and_plain) { UNUSED; count(VALUE(0), HERE); get(VALUE(0), HERE); }
KERNEL(byte_race) { UNUSED; ph_access(VALUE(0) + T / 2, 1, PH_WRITE, HERE); }
KERNEL(past_end) { UNUSED; put(VALUE(VALUES - 32 + T), 1, HERE); }
KERNEL(unwritten) { UNUSED; get(VALUE(VALUES - 32 + T), HERE); }
KERNEL(unwritten_shared) { UNUSED; put(SHARED(T), 1, HERE); ph_barrier(HERE); get(SHARED(T + 1), HERE); }
KERNEL(misaligned) { UNUSED; ph_access(VALUE(T), 16, PH_READ, HERE); }
KERNEL(next_array) { UNUSED; put(SHARED(T + 225), 1, HERE); }
KERNEL(past_dynamic) { UNUSED; put(SHARED(544 + T), 1, HERE); }
KERNEL(past_window) { UNUSED; put(SHARED(PH_SHARED_BYTES), 1, HERE); }
KERNEL(unchecked_shared) { UNUSED; ph_now->site = HERE; *(volatile float *)(void *)storage(SHARED(544 + 1024)) = 1; }
KERNEL(divergent) { UNUSED; if (T < 32) ph_barrier(HERE); else ph_barrier(&sites[0]); }
KERNEL(leaves_early) { UNUSED; if (T != 5) ph_barrier(HERE); }
KERNEL(exited_lane) { UNUSED; float x = 0; if (T != 5) ph_warp(~0u, sum_lanes, &x, HERE); }
KERNEL(lane_outside) { UNUSED; float x = 0; ph_warp(0xFFFF, sum_lanes, &x, HERE); }
KERNEL(masks_differ) { UNUSED; float x = 0; ph_warp(T ? ~0u : 0xFFFF, sum_lanes, &x, HERE); }
KERNEL(barrier_and_shuffle) { UNUSED; float x = 0; if (T == 5) ph_barrier(HERE); else ph_warp(~0u, sum_lanes, &x, HERE); }
KERNEL(host_memory) { UNUSED; static float x; get((uintptr_t)&x, HERE); }
KERNEL(deep) { UNUSED; char local[PH_STACK + 64]; ph_now->site = HERE; *(volatile char *)local = 1; }

static void commit_neighbour(void) { launch("neighbour", neighbour, 1, 64); }
static void commit_overwritten(void) { launch("overwritten", overwritten, 1, 64); }
static void commit_same_warp(void) { launch("same_warp", same_warp, 1, 32); }
static void commit_other_half(void) { launch("other_half", other_half, 1, 32); }
static void commit_blocks_meet(void) { launch("blocks_meet", blocks_meet, 2, 32); }
static void commit_block_reads_later(void) { launch("block_reads_later", block_reads_later, 3, 32); }
static void commit_plain_count(void) { launch("plain_count", plain_count, 1, 32); }
static void commit_atomic_and_plain(void) { launch("atomic_and_plain", atomic_and_plain, 1, 32); }
static void commit_byte_race(void) { launch("byte_race", byte_race, 1, 2); }
static void commit_past_end(void) { launch("past_end", past_end, 1, 64); }
static void commit_unwritten(void) { launch("unwritten", unwritten, 1, 32); }
static void commit_unwritten_shared(void) { launch("unwritten_shared", unwritten_shared, 1, 32); }
static void commit_misaligned(void) { launch("misaligned", misaligned, 1, 32); }
static void commit_next_array(void) { launch("next_array", next_array, 1, 32); }
static void commit_past_dynamic(void) { launch_shared("past_dynamic", past_dynamic, 1, 1, 64); }
static void commit_past_window(void) { launch("past_window", past_window, 1, 1); }
static void commit_unchecked_shared(void) { launch_shared("unchecked_shared", unchecked_shared, 1, 1, 64); }
static void commit_divergent(void) { launch("divergent", divergent, 1, 64); }
static void commit_leaves_early(void) { launch("leaves_early", leaves_early, 1, 64); }
static void commit_exited_lane(void) { launch("exited_lane", exited_lane, 1, 32); }
static void commit_partial_warp(void) { launch("same_warp", same_warp, 1, 48); }
static void commit_lane_outside(void) { launch("lane_outside", lane_outside, 1, 32); }
static void commit_masks_differ(void) { launch("masks_differ", masks_differ, 1, 32); }
static void commit_barrier_and_shuffle(void) { launch("barrier_and_shuffle", barrier_and_shuffle, 1, 32); }
static void commit_host_memory(void) { launch("host_memory", host_memory, 1, 1); }
static void commit_deep(void) { launch("deep", deep, 1, 1); }
static void commit_host_follows(void) { launch("own_value", own_value, 1, 1); *(volatile float *)(uintptr_t)values = 1; }
static void commit_unallocated(void) { launch("own_value", own_value, 1, 1); *(volatile float *)(void *)ph_storage(PH_ARENA + PH_ARENA_BYTES - 4096) = 1; }
static void commit_missing_write(void) { ph_check_readable(values, 4 * VALUES, "a test"); }
static void commit_gap(void) { ph_check_gap(VALUE(0), 256); ph_check_range(VALUE(0), 64); launch("blocks_meet", blocks_meet, 1, 32); }
static void commit_renewed(void) { ph_check_range(VALUE(0), 64); launch("own_value", own_value, 1, 32); }

static void commit_freed(void)
{
    assert_int_equal(cudaFree((void *)(uintptr_t)values), 0);
    launch("own_value", own_value, 1, 32);
}

static const struct misuse mistakes[] = {
    { "a missing barrier", commit_neighbour, "race: " },
    { "a tile overwritten without a barrier", commit_overwritten, "race: " },
    { "a shuffle instead of __syncwarp", commit_same_warp, "race: " },
    { "__syncwarp of one half", commit_other_half, "race: " },
    { "two blocks, one address", commit_blocks_meet, "race: write of 4 bytes" },
    { "a block writes what another reads", commit_block_reads_later, "race: " },
    { "a count without atomics", commit_plain_count, "race: " },
    { "an atomic and a plain read", commit_atomic_and_plain, "race: " },
    { "two threads, one byte", commit_byte_race, "race: write of 1 bytes" },
    { "a write past the allocation", commit_past_end, "out of bounds: write of 4 bytes" },
    { "global memory never written", commit_unwritten, "uninitialised read: read of 4 bytes" },
    { "shared memory never written", commit_unwritten_shared, "uninitialised read: read of 4 bytes at shared address 128" },
    { "a vector at an odd place", commit_misaligned, "misaligned: read of 16 bytes" },
    { "from one shared array into the next", commit_next_array, "out of bounds: write of 4 bytes at shared address 10" },
    { "past dynamic shared memory", commit_past_dynamic, "out of bounds: write of 4 bytes at shared address 2176, the block has 2112 + 64 bytes" },
    { "past all shared memory", commit_past_window, "out of bounds: write of 4 bytes at shared address 1048576" },
    { "past shared memory, unchecked", commit_unchecked_shared, "shared address 6272, past the block's 2176 bytes of shared memory" },
    { "a barrier in each branch", commit_divergent, "divergent barrier: other threads of the block wait in the one at core.cu:" },
    { "a thread that exits before a barrier", commit_leaves_early, "divergent barrier: 63 threads reach it, 1 have exited" },
    { "an exited lane in a mask", commit_exited_lane, "lane mask ffffffff names lane 5, which has exited" },
    { "a mask beyond the block", commit_partial_warp, "names lane 16, which the block does not have" },
    { "a lane outside its mask", commit_lane_outside, "lane mask 0000ffff leaves out the calling lane" },
    { "lanes with different masks", commit_masks_differ, "lanes disagree" },
    { "a barrier where others shuffle", commit_barrier_and_shuffle, "deadlock: 31 of 32 threads" },
    { "a host pointer", commit_host_memory, "which is neither device nor shared nor local memory" },
    { "too much local memory", commit_deep, "local memory is larger than its stack" },
    { "host code follows a device address", commit_host_follows, "host code follows the device address 0x20" },
    { "a device address beyond all allocations", commit_unallocated, "lies in no allocation" },
    { "a write that is missing", commit_missing_write, "a test reads 0x" },
    { "a gap between ranges", commit_gap, "between the ranges of its allocation" },
    { "a range begun anew", commit_renewed, "uninitialised read" },
    { "memory that was freed", commit_freed, "use after free: read of 4 bytes" },
};

static void each_mistake_is_reported(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) misuse_expect(&mistakes[i]);
}

static int prepare(void **state)
{
    static float written[VALUES / 2];
    (void)state;
    for (int i = 0; i < LINES; i++) sites[i] = (struct ph_site){ "core.cu", i };
    ph_check_on(true);
    void *device;
    if (cudaMalloc(&device, 4 * VALUES) || cudaMemcpy(device, written, sizeof written, cudaMemcpyHostToDevice)) return -1;
    values = (uintptr_t)device;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(clean_kernels), cmocka_unit_test(each_mistake_is_reported) };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
