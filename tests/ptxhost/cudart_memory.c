/* The emulated libcudart's memory: the device's, pinned memory of the host. A device address is not mapped;
   its storage is ph_storage(address). Allocations end before a page that faults, new memory is 0xFF (NaN, -1), and freed addresses
   come up again late: only after FREED_BYTES of others, which bounds what the checker has to remember. Memory of the host that
   the device sees has an address of the device's: the host reaches it by copies alone. */
#define _GNU_SOURCE
#include "cudart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, ALIGNMENT = 256, FREED_BYTES = 1 << 30 };

struct ranges { struct range *of; int count, capacity; };
static struct ranges device, pinned;                        /* by address */
static uint64_t used_bytes, cursor = PH_ARENA;

static uint64_t up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* ---- tables of ranges ---- */

/* The number of ranges that begin at or below the address. */
static int ranges_below(const struct ranges *r, uint64_t address)
{
    int from = 0, to = r->count;
    while (from < to) {
        int middle = (from + to) / 2;
        if (r->of[middle].address <= address) from = middle + 1;
        else to = middle;
    }
    return from;
}

static struct range *ranges_find(const struct ranges *r, uint64_t address)
{
    int i = ranges_below(r, address);
    return i > 0 && address - r->of[i - 1].address < r->of[i - 1].bytes ? &r->of[i - 1] : NULL;
}

static void ranges_add(struct ranges *r, struct range new)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : 64;
        r->of = realloc(r->of, (size_t)r->capacity * sizeof *r->of);
        if (!r->of) abort();
    }
    int i = ranges_below(r, new.address);
    memmove(&r->of[i + 1], &r->of[i], (size_t)(r->count++ - i) * sizeof *r->of);
    r->of[i] = new;
}

static void ranges_remove(struct ranges *r, struct range *gone)
{
    memmove(gone, gone + 1, (size_t)(&r->of[--r->count] - gone) * sizeof *gone);
}

/* ---- the device's ---- */

const struct range *memory_find(uint64_t address)
{
    return ranges_find(&device, address);
}

const struct range *memory_pinned(uint64_t address)
{
    return ranges_find(&pinned, address);
}

bool ph_in_bounds(uint64_t address, uint64_t bytes)
{
    const struct range *r = memory_find(address);
    return r && bytes <= r->address + r->bytes - address;
}

/* Both the addresses and their storage are taken for good, so that nothing of the host's lies there. */
static void reserve(void)
{
    static bool done;
    if (done) return;
    done = true;
    for (uint64_t at = PH_ARENA; at <= PH_ARENA + PH_FAR; at += PH_FAR) {
        void *want = (void *)(uintptr_t)at;
        if (mmap(want, PH_ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == want) continue;
        fprintf(stderr, "ptxhost: %p: the addresses for the emulated device's memory are taken\n", want);
        abort();
    }
}

static uint64_t first_page(const struct range *r) { return r->address / PAGE * PAGE; }
static uint64_t end_page(const struct range *r) { return up(r->address + r->bytes, PAGE); }

/* The first gap from the cursor on that holds so many bytes and a page before and after; then from the start. */
static uint64_t find_gap(uint64_t bytes)
{
    for (int turn = 0; turn < 2; turn++, cursor = PH_ARENA) {
        uint64_t at = cursor;
        for (int i = ranges_below(&device, cursor); i <= device.count; i++) {
            if (i > 0 && end_page(&device.of[i - 1]) > at) at = end_page(&device.of[i - 1]);
            uint64_t end = i < device.count ? first_page(&device.of[i]) : PH_ARENA + PH_ARENA_BYTES;
            if (at < end && end - at >= bytes + 2 * PAGE) return at + PAGE;
        }
    }
    return 0;
}

static uint64_t take(uint64_t bytes, int of_device, bool mapped)
{
    uint64_t slots = up(bytes, ALIGNMENT), pages = up(bytes, PAGE), at;
    reserve();
    if (!mapped && (bytes > device_memory_bytes() || used_bytes + slots > device_memory_bytes())) return 0;
    if (!(at = find_gap(pages))) return 0;
    if (mprotect(ph_storage(at), pages, PROT_READ | PROT_WRITE) != 0) return 0;
    memset(ph_storage(at), 0xff, pages);
    struct range r = { at + pages - slots, bytes, of_device, mapped };
    cursor = at + pages < PH_ARENA + FREED_BYTES ? at + pages : PH_ARENA;
    ranges_add(&device, r);
    if (!mapped) used_bytes += slots;
    ph_check_alloc(r.address, r.bytes);
    return r.address;
}

uint64_t memory_take(uint64_t bytes, int of_device) { return take(bytes, of_device, false); }

static void give_back(struct range *r)
{
    uint64_t at = first_page(r), pages = end_page(r) - at;
    ph_check_free(r->address, r->bytes);
    if (mmap(ph_storage(at), pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) abort();
    if (!r->mapped) used_bytes -= up(r->bytes, ALIGNMENT);
    ranges_remove(&device, r);
}

void memory_release_all(void)
{
    while (device.count) give_back(&device.of[device.count - 1]);
}

void memory_tell_checker(void)
{
    for (int i = 0; i < device.count; i++) ph_check_alloc(device.of[i].address, device.of[i].bytes);
}

void memory_print_leaks(void)
{
    for (int i = 0; i < device.count; i++)
        if (device.of[i].device >= 0)
            fprintf(stderr, "ptxhost: leak: %llu bytes of %s %d at %#llx\n", (unsigned long long)device.of[i].bytes,
                    device.of[i].mapped ? "mapped memory of device" : "device", device.of[i].device, (unsigned long long)device.of[i].address);
    for (int i = 0; i < pinned.count; i++)
        fprintf(stderr, "ptxhost: leak: %llu bytes of pinned memory at %#llx\n", (unsigned long long)pinned.of[i].bytes,
                (unsigned long long)pinned.of[i].address);
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    API;
    *p = NULL;
    cudaError_t error = device_check(device_current());
    if (!error) error = capture_forbid(NULL);
    if (error || bytes == 0) return error;
    uint64_t address = memory_take(bytes, device_current());
    if (!address) return cudart_refuse(cudaErrorMemoryAllocation);
    *p = (void *)(uintptr_t)address;
    cudart_trace("cudaMalloc %zu bytes at %p", bytes, *p);
    return cudaSuccess;
}

/* As the real one, it waits for the device. */
cudaError_t cudaFree(void *p)
{
    API;
    if (!p) return cudaSuccess;
    struct range *r = ranges_find(&device, (uintptr_t)p);
    if (!r || r->address != (uintptr_t)p) return cudart_fail(cudaErrorInvalidValue, "%p is no allocation of the device%s", p, r ? ", but lies in one" : "");
    if (r->mapped) return cudart_fail(cudaErrorInvalidValue, "%p is memory of the host: use cudaFreeHost", p);
    cudaError_t error = capture_forbid(NULL);
    if (error) return error;
    stream_drain_all();
    give_back(r);
    cudart_trace("cudaFree %p", p);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    API;
    *total = device_memory_bytes();
    *free_bytes = *total - used_bytes;
    return cudaSuccess;
}

/* ---- the host's ---- */

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned int flags)
{
    API;
    *p = NULL;
    if (flags & ~(unsigned)(cudaHostAllocPortable | cudaHostAllocWriteCombined | cudaHostAllocMapped))
        return cudart_fail(cudaErrorInvalidValue, "flags %#x", flags);
    cudaError_t error = device_check(device_current());
    if (!error) error = capture_forbid(NULL);
    if (error || bytes == 0) return error;
    if (flags & cudaHostAllocMapped) {
        *p = (void *)(uintptr_t)take(bytes, device_current(), true);
        return *p ? cudaSuccess : cudart_refuse(cudaErrorMemoryAllocation);
    }
    uint64_t pages = up(bytes, PAGE), slots = up(bytes, ALIGNMENT);
    char *at = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return cudart_refuse(cudaErrorMemoryAllocation);
    if (mprotect(at + pages, PAGE, PROT_NONE) != 0) abort();
    memset(at, 0xff, pages);
    *p = at + pages - slots;
    ranges_add(&pinned, (struct range){ (uintptr_t)*p, bytes, device_current(), false });
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    API;
    return cudaHostAlloc(p, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *p)
{
    API;
    if (!p) return cudaSuccess;
    struct range *r = ranges_find(ph_is_device((uintptr_t)p) ? &device : &pinned, (uintptr_t)p);
    if (!r || r->address != (uintptr_t)p || (ph_is_device((uintptr_t)p) && !r->mapped))
        return cudart_fail(cudaErrorInvalidValue, "%p was not given by cudaMallocHost", p);
    cudaError_t error = capture_forbid(NULL);
    if (error) return error;
    stream_drain_all();
    if (r->mapped) {
        give_back(r);
        return cudaSuccess;
    }
    uint64_t at = first_page(r);
    munmap((void *)(uintptr_t)at, end_page(r) - at + PAGE);
    ranges_remove(&pinned, r);
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p)
{
    API;
    const struct range *in_device = memory_find((uintptr_t)p), *in_host = ranges_find(&pinned, (uintptr_t)p);
    const struct range *r = in_device ? in_device : in_host;
    memset(a, 0, sizeof *a);
    a->type = in_device && !in_device->mapped ? cudaMemoryTypeDevice : r ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    a->device = r ? r->device : cudaInvalidDeviceId;
    a->devicePointer = in_device ? (void *)(uintptr_t)p : NULL;
    a->hostPointer = in_device && !in_device->mapped ? NULL : (void *)(uintptr_t)p;
    return cudaSuccess;
}

cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t stream)
{
    API;
    (void)p, (void)bytes, (void)stream;
    return cudart_fail(cudaErrorNotSupported, "memory in the order of a stream is not emulated: use cudaMalloc outside the step");
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t stream)
{
    API;
    (void)p, (void)stream;
    return cudart_fail(cudaErrorNotSupported, "memory in the order of a stream is not emulated: use cudaFree");
}

cudaError_t cudaMallocManaged(void **p, size_t bytes, unsigned int flags)
{
    API;
    (void)p, (void)bytes, (void)flags;
    return cudart_fail(cudaErrorNotSupported, "managed memory is not emulated");
}
