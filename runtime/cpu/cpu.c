/* The CPU backend: one row for each op, host memory, the thread pool. */
#define _GNU_SOURCE
#include "backend/backend.h"
#include "cpu.h"
#include "isa.h"
#include "base/memory.h"
#include "line.h"
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct kernels *cpu_kernels(int op) { return isa()->level->kernels[op]; }

/* Mapped memory is zeroed, takes huge pages where it is large, and is given back whole. */
static void *cpu_alloc(void *device, size_t bytes)
{
    (void)device;
    if (bytes == 0) return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "cpu: %zu bytes of memory were wanted and are not to be had\n", bytes);
        exit(7);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static void cpu_release(void *device, void *memory, size_t bytes)
{
    (void)device;
    if (memory) munmap(memory, bytes);
}

/* Whole pages are given up, to come back zeroed when they are touched: costs nothing where none was touched yet. */
static void cpu_clear(void *device, void *memory, size_t bytes)
{
    (void)device;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = bytes / page * page;
    if (whole && madvise(memory, whole, MADV_DONTNEED) != 0) whole = 0;
    if (bytes > whole) memset((char *)memory + whole, 0, bytes - whole);
}

static void cpu_copy(void *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    if (bytes) memcpy(to, from, bytes);
}

static size_t cpu_packed_bytes(struct shape weight, enum format act) { return isa()->level->packed_bytes(weight, act); }

static void cpu_pack(void *device, const struct tensor *weight)
{
    isa()->level->pack(&(struct args){ .device = device }, weight);
}

static int cpu_probe(char name[16], struct err *e)
{
    (void)e;
    snprintf(name, 16, "%s", isa()->name);
    return 0;
}

static int cpu_probe_room(size_t *bytes, struct err *e)
{
    (void)e;
    *bytes = memory_room();
    return 0;
}

static void *cpu_open(int threads) { return pool_new(threads); }
static void cpu_close(void *device)
{
    line_settle(INT64_MAX);
    pool_free(device);
}

static void cpu_reduce(void *device, real *data, int64_t n, enum reduction how, unsigned over)
{
    (void)device;
    INVARIANT(sizeof *data == sizeof(float), "ranks work in float");
    line_put((struct errand){ .data = (float *)(void *)data, .n = n, .how = how, .over = over });
}

static int64_t cpu_beside(void *device, kernel *run, const struct args *a)
{
    (void)device;
    return line_put((struct errand){ .run = run, .args = *a });
}

static void cpu_settle(void *device, int64_t number)
{
    (void)device;
    line_settle(number);
}

static void cpu_meet(void *device) { cpu_settle(device, INT64_MAX); }

static void cpu_broadcast(void *device, void *data, size_t bytes, int root, unsigned over)
{
    cpu_meet(device);
    comm_here()->broadcast(data, bytes, root, over);
}

static void cpu_give(void *device, const struct parcel *p, int channel)
{
    cpu_meet(device);
    comm_here()->give(p, channel);
}

static void cpu_take(void *device, const struct parcel *p, int channel)
{
    cpu_meet(device);
    comm_here()->take(p, channel);
}

const struct backend backend_cpu = {
    .name = "cpu",
    .cuts_rows = true,
    .kernels = cpu_kernels,
    .probe = cpu_probe,
    .room = memory_room,
    .probe_room = cpu_probe_room,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .clear = cpu_clear,
    .put = cpu_copy,
    .copy = cpu_copy,
    .get = cpu_copy,
    .fill = cpu_fill,
    .packed_bytes = cpu_packed_bytes,
    .pack = cpu_pack,
    .reduce = cpu_reduce,
    .broadcast = cpu_broadcast,
    .meet = cpu_meet,
    .beside = cpu_beside,
    .settle = cpu_settle,
    .give = cpu_give,
    .take = cpu_take,
};
