/* Runs kernels: blocks one after the other, the threads of a block as fibers on the calling host thread. A thread that never
   waits runs to its end on the current stack and the next one starts there, without a switch. With seed 0 threads run depth
   first in order; any other seed picks the next thread and the order of the blocks at random. */
#include "ptxhost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { THREADS = 1024, WARPS = THREADS / 32, STACK = PH_STACK, GUARD = PH_GUARD };
enum { NEW, READY, AT_BARRIER, IN_WARP, EXITED };

struct ph_thread *ph_now;
struct ph_block ph_here;

static struct ph_thread threads[THREADS];
static struct ph_thread *ready[THREADS];
static uint32_t n_ready;
static uint32_t arrived[WARPS], absent[WARPS];              /* lanes that wait in a warp-wide instruction; exited or beyond the block */
static struct { uint32_t arrived, value, result; const struct ph_site *site; } barrier;
static struct { bool barrier, absent; } told;               /* once a launch */
static const unsigned char *arguments;
static void *host_stack;
static bool abandoned, random_order;                        /* the launch cannot go on; a seed is given */

/* ---- a switch of stacks: saves what a call must preserve ---- */

void ph_switch(void **from, void *to) __attribute__((visibility("hidden")));

#if defined __x86_64__
struct frame { uint64_t saved[6]; void (*enter)(void); uint64_t returns; };     /* as a call of enter would leave it */
__asm__(".text\n.globl ph_switch\n.hidden ph_switch\n.type ph_switch,@function\nph_switch:\n"
        "    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "    ret\n"
        ".size ph_switch, .-ph_switch\n");
#elif defined __aarch64__
struct frame { uint64_t saved[11]; void (*enter)(void); double vectors[8]; };
__asm__(".text\n.globl ph_switch\n.hidden ph_switch\n.type ph_switch,%function\nph_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n    ret\n"
        ".size ph_switch, .-ph_switch\n");
#else
#error "fibers are written for x86-64 and aarch64"
#endif

/* ---- stacks ---- */

static char *stacks, *spare[THREADS];
static int n_spare, n_stacks;

void *ph_map(size_t bytes, int protection)
{
    void *memory = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) return memory;
    perror("ptxhost: mmap");
    abort();
}

/* A stack is known by its low end, below which nothing is mapped. */
static char *stack_at(int i) { return stacks + (size_t)i * (STACK + GUARD) + GUARD; }

static char *take_stack(void)
{
    if (n_spare) return spare[--n_spare];
    if (!stacks) stacks = ph_map((size_t)THREADS * (STACK + GUARD), PROT_READ | PROT_WRITE);
    char *stack = stack_at(n_stacks++);
    mprotect(stack - GUARD, GUARD, PROT_NONE);
    return stack;
}

static void give_stack(char *stack) { spare[n_spare++] = stack; }

static void give_all_stacks(void)
{
    for (n_spare = 0; n_spare < n_stacks; n_spare++) spare[n_spare] = stack_at(n_spare);
}

static void enter(void);

/* Tops are staggered: at equal offsets in their pages all stacks would share a few sets of the L1 cache. */
static void *first_frame(char *stack)
{
    size_t line = (uintptr_t)stack / (STACK + GUARD) % 64 * 5 % 64;
    struct frame *f = (struct frame *)(stack + STACK - 64 * line) - 1;
    memset(f, 0, sizeof *f);
    f->enter = enter;
    return f;
}

/* ---- the schedule ---- */

static void make_ready(struct ph_thread *t)
{
    t->state = READY;
    ready[n_ready++] = t;
}

static struct ph_thread *next_thread(void)
{
    if (!n_ready) return NULL;
    if (random_order) {
        uint32_t i = ph_random(n_ready);
        struct ph_thread *t = ready[i];
        ready[i] = ready[--n_ready];
        return t;
    }
    return ready[--n_ready];
}

static void report_waiting(int state, const char *what)
{
    uint32_t n = 0, first = 0;
    char mask[24] = "";
    for (uint32_t i = ph_here.threads; i-- > 0;) if (threads[i].state == state) { n++; first = i; }
    if (!n) return;
    ph_now = &threads[first];
    if (state == IN_WARP) snprintf(mask, sizeof mask, ", lane mask %08x", ph_now->mask);
    ph_report("deadlock: %u of %u threads wait %s%s, this one first; %u have exited", n, ph_here.threads, what, mask, ph_here.threads - ph_here.live);
}

/* Runs t, or the host if no thread can run; `from` is where the stack pointer of the caller goes. */
static void switch_to(struct ph_thread *t, void **from)
{
    if (!t) {
        if (ph_here.live && !abandoned) {
            report_waiting(AT_BARRIER, "at a barrier");
            report_waiting(IN_WARP, "in a warp-wide instruction");
            abandoned = true;
        }
        ph_now = NULL;
        ph_switch(from, host_stack);
        return;
    }
    if (t->state == NEW) {
        t->stack = take_stack();
        t->sp = first_frame(t->stack);
    }
    t->state = READY;
    ph_now = t;
    ph_switch(from, t->sp);
}

static void wait_as(int state)
{
    ph_now->state = state;
    switch_to(next_thread(), &ph_now->sp);
}

static void abandon(void)
{
    abandoned = true;
    switch_to(NULL, &ph_now->sp);
}

/* ---- block barriers ---- */

static void release_barrier(void)
{
    if (ph_here.live < ph_here.threads && !told.barrier) {
        told.barrier = true;
        ph_report("divergent barrier: %u threads reach it, %u have exited", ph_here.live, ph_here.threads - ph_here.live);
    }
    barrier.arrived = 0;
    barrier.result = barrier.value;
    ph_here.epoch++;
    for (uint32_t i = ph_here.threads; i-- > 0;) {
        threads[i].syncs = 0;
        if (threads[i].state == AT_BARRIER) make_ready(&threads[i]);
    }
}

static bool same_line(const struct ph_site *a, const struct ph_site *b)
{
    return a == b || (a && b && a->line == b->line && strcmp(a->file, b->file) == 0);
}

uint32_t ph_barrier_reduce(uint32_t value, enum ph_reduce how, const struct ph_site *site)
{
    struct ph_thread *t = ph_now;
    t->site = site;
    if (!barrier.arrived) {
        barrier.site = site;
        barrier.value = how == PH_AND;
    } else if (!same_line(site, barrier.site) && !told.barrier) {
        told.barrier = true;
        ph_report("divergent barrier: other threads of the block wait in the one at %s", ph_where(barrier.site));
    }
    if (how == PH_AND) barrier.value &= value != 0;
    else if (how == PH_OR) barrier.value |= value != 0;
    else barrier.value += value != 0;
    if (++barrier.arrived == ph_here.live) release_barrier();
    else wait_as(AT_BARRIER);
    return barrier.result;                                  /* nobody can pass another barrier before all have read it */
}

void ph_barrier(const struct ph_site *site) { ph_barrier_reduce(0, PH_OR, site); }

/* ---- warp-wide instructions ---- */

static bool differ(const struct ph_thread *t, const struct ph_thread *u) { return t->mask != u->mask || t->op != u->op; }

/* Two lanes of the mask that wait for each other with different masks or instructions will never meet. */
static void report_disagreement(const struct ph_thread *warp, uint32_t mask)
{
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        const struct ph_thread *t = &warp[__builtin_ctz(rest)];
        for (uint32_t others = t->mask & arrived[t->warp]; others; others &= others - 1) {
            const struct ph_thread *u = &warp[__builtin_ctz(others)];
            if (!(u->mask >> t->lane & 1) || !differ(t, u)) continue;
            ph_report("lanes disagree: lane %u has mask %08x, lane %u waits with mask %08x%s at %s", t->lane, t->mask, u->lane, u->mask,
                      t->op != u->op ? " in another instruction" : "", ph_where(u->site));
            abandon();
        }
    }
}

/* All lanes of the mask have arrived; `last` is one of them. False if one of them waits for others first: it will come again. */
static bool compute_warp(struct ph_thread *last)
{
    struct ph_thread *warp = last - last->lane;
    uint32_t mask = last->mask & ~absent[last->warp];
    void *operands[32] = { 0 };
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        struct ph_thread *t = &warp[__builtin_ctz(rest)];
        if (differ(t, last)) {
            report_disagreement(warp, mask);
            return false;
        }
        operands[t->lane] = t->operands;
    }
    ((ph_warp_compute *)last->op)(operands, mask);
    arrived[last->warp] &= ~mask;
    for (uint32_t rest = mask; rest;) {
        uint32_t lane = 31 - (uint32_t)__builtin_clz(rest);
        rest &= ~(1u << lane);
        if (warp[lane].state == IN_WARP) make_ready(&warp[lane]);
    }
    return true;
}

static void report_absent(const struct ph_thread *t)
{
    uint32_t lane = (uint32_t)__builtin_ctz(t->mask & absent[t->warp]);
    if (told.absent) return;
    told.absent = true;
    ph_report("lane mask %08x names lane %u, which %s", t->mask, lane, t->linear - t->lane + lane < ph_here.threads ? "has exited" : "the block does not have");
}

void ph_warp(uint32_t mask, ph_warp_compute *compute, void *operands, const struct ph_site *site)
{
    struct ph_thread *t = ph_now;
    uint32_t w = t->warp;
    t->site = site;
    t->mask = mask;
    t->op = (const void *)compute;
    t->operands = operands;
    if (!(mask >> t->lane & 1)) {
        ph_report("lane mask %08x leaves out the calling lane %u", mask, t->lane);
        abandon();
    }
    if (mask & absent[w]) report_absent(t);
    arrived[w] |= 1u << t->lane;
    if (mask & ~absent[w] & ~arrived[w] || !compute_warp(t)) wait_as(IN_WARP);
}

static void advance_clocks(void *const operands[32], uint32_t mask)
{
    uint32_t latest = 0;
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        uint32_t clock = *(uint32_t *)operands[__builtin_ctz(rest)];
        if (clock > latest) latest = clock;
    }
    for (uint32_t rest = mask; rest; rest &= rest - 1) *(uint32_t *)operands[__builtin_ctz(rest)] = latest + 1;
}

void ph_warp_sync(uint32_t mask, const struct ph_site *site) { ph_warp(mask, advance_clocks, &ph_now->syncs, site); }

/* ---- blocks and the grid ---- */

/* A lane has exited: others of its warp may wait for it, in vain. */
static void release_warp(struct ph_thread *gone)
{
    struct ph_thread *warp = gone - gone->lane;
    for (uint32_t rest = arrived[gone->warp]; rest; rest &= rest - 1) {
        struct ph_thread *t = &warp[__builtin_ctz(rest)];
        if (t->state != IN_WARP || !(t->mask >> gone->lane & 1)) continue;
        ph_now = t;
        report_absent(t);
        if (!(t->mask & ~absent[t->warp] & ~arrived[t->warp])) compute_warp(t);
    }
    ph_now = gone;
}

static void exit_thread(struct ph_thread *t)
{
    t->state = EXITED;
    ph_here.live--;
    absent[t->warp] |= 1u << t->lane;
    if (arrived[t->warp]) release_warp(t);
    if (barrier.arrived && barrier.arrived == ph_here.live) release_barrier();
}

/* What a fiber runs: its thread, then new threads on the same stack as long as the schedule says so. */
static void enter(void)
{
    for (;;) {
        struct ph_thread *t = ph_now;
        ph_here.kernel->run(arguments);
        exit_thread(t);
        struct ph_thread *next = next_thread();
        if (!next || next->state != NEW) {
            give_stack(t->stack);
            switch_to(next, &t->sp);                        /* for ever */
        }
        next->stack = t->stack;
        next->state = READY;
        ph_now = next;
    }
}

static void begin_block(uint64_t linear)
{
    struct ph_block *b = &ph_here;
    b->linear = linear;
    b->id = (struct ph_dim){ (uint32_t)(linear % b->grid.x), (uint32_t)(linear / b->grid.x % b->grid.y), (uint32_t)(linear / b->grid.x / b->grid.y) };
    b->live = b->threads;
    b->epoch++;
    barrier.arrived = 0;
    memset(arrived, 0, sizeof arrived);
    memset(absent, 0, sizeof absent);
    if (b->threads % 32) absent[b->threads / 32] = ~0u << b->threads % 32;
    memset(b->shared, 0xFF, b->shared_bytes);               /* NaN, -1 */
    ph_check_block();
    n_ready = b->threads;
    for (uint32_t i = 0; i < b->threads; i++) {
        threads[i].state = NEW;
        threads[i].syncs = 0;
        ready[b->threads - 1 - i] = &threads[i];
    }
}

static void run_block(uint64_t linear)
{
    begin_block(linear);
    switch_to(next_thread(), &host_stack);
    if (abandoned) give_all_stacks();
}

/* Shared memory of n bytes ends, but for its rounding, at memory that nobody may touch, and which is as large as a shared address can reach. */
static char *shared_memory(uint32_t n)
{
    static char *all;
    if (!all) {
        all = ph_map(PH_SHARED_BYTES + (4ull << 30), PROT_NONE);
        mprotect(all, PH_SHARED_BYTES, PROT_READ | PROT_WRITE);
    }
    return all + PH_SHARED_BYTES - (n + 127) / 128 * 128;
}

static void begin_launch(const struct ph_kernel *k, struct ph_dim grid, struct ph_dim block, uint32_t dynamic_bytes)
{
    uint32_t n = block.x * block.y * block.z, shared_bytes = k->shared_bytes + dynamic_bytes;
    ph_here = (struct ph_block){ .kernel = k, .block = block, .grid = grid, .launch = ph_here.launch + 1, .epoch = ph_here.epoch,
                                 .threads = n, .shared = shared_memory(shared_bytes), .shared_bytes = shared_bytes };
    for (uint32_t i = 0; i < n; i++)
        threads[i] = (struct ph_thread){ .tid = { i % block.x, i / block.x % block.y, i / block.x / block.y }, .linear = i, .lane = i % 32, .warp = i / 32 };
    abandoned = told.barrier = told.absent = false;
    random_order = ph_seed() != 0;
    ph_watch();
}

static uint64_t *permutation(uint64_t n)
{
    uint64_t *order = malloc(n * sizeof *order);
    if (!order) abort();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t j = ph_random((uint32_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

void ph_grid(const struct ph_kernel *k, struct ph_dim grid, struct ph_dim block, uint32_t dynamic_bytes, const unsigned char *params)
{
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, *order = NULL;
    begin_launch(k, grid, block, dynamic_bytes);
    if (random_order) order = permutation(blocks);
    arguments = params;
    for (uint64_t i = 0; i < blocks && !abandoned; i++) run_block(order ? order[i] : i);
    free(order);
}
