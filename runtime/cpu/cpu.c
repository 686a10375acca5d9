/* The CPU backend: one row for each op, host memory, the thread pool. */
#define _GNU_SOURCE
#include "backend.h"
#include "isa.h"
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static const struct kernels *cpu_kernels(int op) { return isa()->level->kernels[op]; }

/* Mapped memory is zeroed, takes huge pages where it is large, and is given back whole. */
static void *cpu_alloc(size_t bytes)
{
    if (bytes == 0) return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "cpu: %zu bytes of memory were wanted and are not to be had\n", bytes);
        exit(7);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static void cpu_release(void *memory, size_t bytes) { if (memory) munmap(memory, bytes); }

/* Pages are given up, to come back zeroed when they are touched: costs nothing where none was touched yet. */
static void cpu_clear(void *memory, size_t bytes)
{
    if (bytes && madvise(memory, bytes, MADV_DONTNEED) != 0) memset(memory, 0, bytes);
}

static void cpu_put(void *device, const void *host, size_t bytes) { memcpy(device, host, bytes); }
static void cpu_get(void *host, const void *device, size_t bytes) { memcpy(host, device, bytes); }
static size_t cpu_packed_bytes(struct shape weight, enum format act) { return isa()->level->packed_bytes(weight, act); }
static void cpu_pack(void *device, const struct tensor *weight) { isa()->level->pack(&(struct args){ .device = device }, weight); }
static void *cpu_open(int threads) { return pool_new(threads); }
static void cpu_close(void *device) { pool_free(device); }

const struct backend backend_cpu = { "cpu", true, cpu_kernels, cpu_alloc, cpu_release, cpu_clear, cpu_put, cpu_get, cpu_packed_bytes, cpu_pack, cpu_open, cpu_close };
