/* The thread pool. A region is one word, the ticket: generation, number of blocks, next block. Whoever adds one
   to it and finds a block below the number owns that block, and the region cannot end before the block is done; so a
   late or preempted worker costs its share only and never touches a finished region. */
#define _GNU_SOURCE
#include "pool.h"
#include "backend/kernel.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* Each thread may ask for a block beyond the last, one that is late once more. STACK: with thread-local buffers of
   kernels in it, whatever the shell's limit is. */
enum { BLOCK_BITS = 20, MOST_THREADS = 1024, MOST_BLOCKS = (1 << BLOCK_BITS) - 2 * MOST_THREADS, SPINS = 4000,
       STACK = 16 << 20 };

struct pool {
    int threads;
    pthread_t *worker;
    /* The region; written before its ticket is published. */
    const struct args *args;
    void (*body)(const struct args *, int64_t, int64_t);
    int64_t base, items, grain;
    _Alignas(64) atomic_ullong ticket;
    _Alignas(64) atomic_int done;
    _Alignas(64) atomic_int sleepers;
    atomic_uint wake;
    atomic_int begun;
    atomic_bool quit;
};

static _Thread_local bool inside;

void pool_flush_denormals(void)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr | 1u << 24));
#endif
}

static void pause_cpu(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static unsigned long long generation(unsigned long long ticket) { return ticket >> 2 * BLOCK_BITS; }

static void run_block(struct pool *p, int64_t block)
{
    int64_t from = p->base + block * p->grain, to = from + p->grain;
    p->body(p->args, from, to < p->items ? to : p->items);
}

/* Takes blocks until none is left. */
static void help(struct pool *p)
{
    inside = true;
    for (;;) {
        unsigned long long t = atomic_fetch_add_explicit(&p->ticket, 1, memory_order_acq_rel);
        int64_t next = (int64_t)(t & ((1ull << BLOCK_BITS) - 1)),
                blocks = (int64_t)(t >> BLOCK_BITS & ((1ull << BLOCK_BITS) - 1));
        if (next >= blocks) break;
        run_block(p, next);
        atomic_fetch_add_explicit(&p->done, 1, memory_order_release);
    }
    inside = false;
}

static void *work(void *context)
{
    struct pool *p = context;
    unsigned long long seen = generation(atomic_load(&p->ticket));
    pool_flush_denormals();
    atomic_fetch_add(&p->begun, 1);
    for (int spins = 0;;) {
        unsigned long long now = generation(atomic_load_explicit(&p->ticket, memory_order_acquire));
        if (atomic_load_explicit(&p->quit, memory_order_acquire)) return NULL;
        if (now != seen) {
            seen = now;
            spins = 0;
            help(p);
        } else if (++spins < SPINS) {
            pause_cpu();
        } else {
            unsigned mark = atomic_load(&p->wake);
            atomic_fetch_add(&p->sleepers, 1);
            if (generation(atomic_load(&p->ticket)) == seen && !atomic_load(&p->quit))
                syscall(SYS_futex, &p->wake, FUTEX_WAIT_PRIVATE, mark, NULL, NULL, 0);
            atomic_fetch_sub(&p->sleepers, 1);
            spins = 0;
        }
    }
}

static void wake_all(struct pool *p)
{
    atomic_fetch_add(&p->wake, 1);
    if (atomic_load(&p->sleepers) > 0) syscall(SYS_futex, &p->wake, FUTEX_WAKE_PRIVATE, MOST_THREADS, NULL, NULL, 0);
}

int pool_cores(void)
{
    cpu_set_t set;                                          /* too small where there may be more than 1024 */
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online < MOST_THREADS ? (int)online : MOST_THREADS;
}

struct pool *pool_new(int threads)
{
    INVARIANT(threads >= 1 && threads <= MOST_THREADS, "%d threads", threads);
    struct pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    INVARIANT(p, "no memory for a thread pool");
    memset(p, 0, sizeof *p);
    p->threads = threads;
    p->worker = xcalloc((size_t)threads, sizeof *p->worker);
    pool_flush_denormals();
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    int unset = pthread_attr_setstacksize(&attr, STACK);
    INVARIANT(!unset, "threads cannot have stacks of %d bytes", STACK);
    for (int i = 1; i < threads; i++) {
        int failure = pthread_create(&p->worker[i], &attr, work, p);
        if (failure) {
            fprintf(stderr, "thread %d of %d cannot be started: %s\n", i + 1, threads, strerror(failure));
            exit(1);
        }
    }
    pthread_attr_destroy(&attr);
    while (atomic_load(&p->begun) < threads - 1) sched_yield();    /* a fork must find no thread that is half made */
    return p;
}

void pool_free(struct pool *p)
{
    if (!p) return;
    atomic_store(&p->quit, true);
    wake_all(p);
    for (int i = 1; i < p->threads; i++) pthread_join(p->worker[i], NULL);
    free(p->worker);
    free(p);
}

static void region(struct pool *p, const struct args *a, int64_t base, int64_t items, int64_t grain, int64_t blocks,
                   void (*body)(const struct args *, int64_t, int64_t))
{
    p->args = a;
    p->body = body;
    p->base = base;
    p->items = items;
    p->grain = grain;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    unsigned long long next = generation(atomic_load(&p->ticket)) + 1;
    atomic_store_explicit(&p->ticket, next << 2 * BLOCK_BITS | (unsigned long long)blocks << BLOCK_BITS,
                          memory_order_seq_cst);
    if (atomic_load(&p->sleepers) > 0) wake_all(p);
    help(p);
    for (int spins = 0; atomic_load_explicit(&p->done, memory_order_acquire) < blocks; spins++) {
        if (spins < SPINS) pause_cpu();
        else sched_yield();
    }
}

void each(const struct args *a, int64_t items, int64_t grain,
          void (*body)(const struct args *a, int64_t from, int64_t to))
{
    struct pool *p = a->device;
    int64_t blocks = blocks_of(items, grain);
    if (inside || !p || p->threads == 1 || blocks <= 1) {
        for (int64_t from = 0; from < items; from += grain) body(a, from, from + grain < items ? from + grain : items);
        return;
    }
    for (int64_t first = 0; first < blocks; first += MOST_BLOCKS) {
        int64_t some = blocks - first < MOST_BLOCKS ? blocks - first : MOST_BLOCKS;
        region(p, a, first * grain, items, grain, some, body);
    }
}
