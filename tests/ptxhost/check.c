/* The checker of memory accesses, by shadow memory. A byte is allocated or not, written or not. A cell of 2 bytes knows its last
   plain writer and two others (plain readers, or atomics) of the kernel that runs. Two accesses of different threads race when one
   writes, not both are atomic, and nothing orders them: a barrier between them orders threads of one block, __syncwarp lanes of one
   warp (shuffles do not), and nothing orders blocks of one launch. */
#include "ptxhost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* States of a byte. Bit 0: may be accessed; bit 1: written. */
enum { NOWHERE = 0, UNWRITTEN = 1, WRITTEN = 3, FREED = 4, GAP = 8 };

/* An access: segment 26 bits | site 15 | thread 10 | clock of __syncwarp 10 | atomic 1 | which bytes of the cell 2. Segments number
   the stretches from one block barrier to the next. As blocks run one after the other, an access below the block's first segment
   is of an earlier block, and one below the launch's first of an earlier launch. */
#define BYTES 3ull
#define ATOMIC 4ull
#define SITES (0x7FFFull << SITE)
enum { CLOCK = 3, LATEST = 1023, THREAD = 13, SITE = 23, SEGMENT = 38 };
struct cell { uint64_t writer, other[2]; };
#define CELLS_BYTES ((PH_ARENA_BYTES / 2 + 8) * sizeof(struct cell))

static bool on;
static uint8_t *device_state;                               /* of each byte of the arena */
static struct cell *device_cells;
static uint8_t shared_state[PH_SHARED_BYTES + 16];
static struct cell shared_cells[PH_SHARED_BYTES / 2 + 8];
static uint64_t origin;                                     /* segment = epoch - origin */
static uint64_t block_floor, launch_floor;                  /* the least access of this block, of this launch */
static struct { uint64_t segment, linear; } *blocks;        /* of this launch, to name the other party */
static size_t n_blocks, room_blocks;

void ph_check_on(bool wanted) { on = wanted; }

/* When there is device memory to watch: a process that only asks what there is may have little of its own. */
static bool watches(void)
{
    if (!on || device_state) return on;
    device_state = ph_map(PH_ARENA_BYTES + 16, PROT_READ | PROT_WRITE);
    device_cells = ph_map(CELLS_BYTES, PROT_READ | PROT_WRITE);
    return true;
}

/* ---- what the host does with memory ---- */

static uint8_t *state_of(uint64_t address) { return device_state + (address - PH_ARENA); }

void ph_check_alloc(uint64_t address, uint64_t bytes) { if (watches()) memset(state_of(address), UNWRITTEN, bytes); }

/* Who comes there later is told by the state; what was accessed need not be known any more, and is given back where it
   fills pages. */
void ph_check_free(uint64_t address, uint64_t bytes)
{
    enum { PAGE = 4096 };
    if (!watches()) return;
    memset(state_of(address), FREED, bytes);
    uintptr_t from = (uintptr_t)(device_cells + (address - PH_ARENA + 1) / 2), to = (uintptr_t)(device_cells + (address - PH_ARENA + bytes) / 2);
    from = (from + PAGE - 1) / PAGE * PAGE;
    to = to / PAGE * PAGE;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

void ph_check_range(uint64_t address, uint64_t bytes) { ph_check_alloc(address, bytes); }
void ph_check_gap(uint64_t address, uint64_t bytes) { if (watches()) memset(state_of(address), GAP, bytes); }

void ph_check_written(uint64_t address, uint64_t bytes)
{
    if (!on) return;
    uint8_t *state = state_of(address);
    for (uint64_t i = 0; i < bytes; i++) state[i] |= (uint8_t)((state[i] & UNWRITTEN) << 1);
}

void ph_check_copied(uint64_t to, uint64_t from, uint64_t bytes)
{
    if (!on) return;
    uint8_t *state = state_of(to);
    const uint8_t *source = state_of(from);
    for (uint64_t i = 0; i < bytes; i++) if (state[i] & UNWRITTEN) state[i] = source[i] == WRITTEN ? WRITTEN : UNWRITTEN;
}

static const char *state_name(uint8_t state)
{
    return state == FREED ? "in freed memory" : state == GAP ? "between the ranges of its allocation" : state == UNWRITTEN ? "never written" :
           "in no allocation";
}

bool ph_check_readable(uint64_t address, uint64_t bytes, const char *who)
{
    if (!on) return true;
    const uint8_t *state = state_of(address);
    for (uint64_t i = 0; i < bytes; i++)
        if (state[i] != WRITTEN) {
            ph_report("%s reads %#llx: byte %llu of %llu is %s", who, (unsigned long long)address, (unsigned long long)i, (unsigned long long)bytes,
                      state_name(state[i]));
            return false;
        }
    return true;
}

/* ---- reports ---- */

static const char *const verb[] = { [PH_READ] = "read", [PH_WRITE] = "write", [PH_ATOMIC] = "atomic", [PH_START] = "asynchronous write" };

/* One report for a mistake at a site, not one for each thread that makes it. */
static bool told(const char *what, const struct ph_site *site)
{
    static struct { const char *what; const struct ph_site *site; const struct ph_kernel *kernel; } seen[256];
    static int n;
    for (int i = 0; i < n; i++) if (seen[i].what == what && seen[i].site == site && seen[i].kernel == ph_here.kernel) return true;
    if (n < 256) {
        seen[n].what = what;
        seen[n].site = site;
        seen[n++].kernel = ph_here.kernel;
    }
    return false;
}

static void report_place(const char *what, uint64_t address, uint32_t bytes, enum ph_kind kind, uint8_t state)
{
    static const char unwritten[] = "uninitialised read", outside[] = "out of bounds", freed[] = "use after free";
    const char *mistake = what ? what : state == UNWRITTEN ? unwritten : state == FREED ? freed : outside;
    if (told(mistake, ph_now->site)) return;
    if (ph_is_device(address))
        ph_report("%s: %s of %u bytes at %#llx%s%s", mistake, verb[kind], bytes, (unsigned long long)address, what ? "" : ", ", what ? "" : state_name(state));
    else if (address - PH_SHARED <= UINT32_MAX)
        ph_report("%s: %s of %u bytes at shared address %llu, the block has %u + %u bytes", mistake, verb[kind], bytes, (unsigned long long)(address - PH_SHARED),
                  ph_here.kernel->shared_bytes, ph_here.shared_bytes - ph_here.kernel->shared_bytes);
    else ph_report("%s: %s of %u bytes at %#llx, which is neither device nor shared nor local memory", mistake, verb[kind], bytes, (unsigned long long)address);
}

static uint64_t block_of(uint64_t id)
{
    size_t i = n_blocks;
    while (i > 1 && blocks[i - 1].segment > id >> SEGMENT) i--;
    return blocks[i - 1].linear;
}

static void report_race(uint64_t address, uint32_t bytes, enum ph_kind kind, uint64_t id)
{
    static const char what[] = "race";
    if (told(what, ph_now->site)) return;
    uint32_t thread = id >> THREAD & 1023, site = (id & SITES) >> SITE;
    uint64_t block = block_of(id), shared = address - PH_SHARED;
    const struct ph_dim b = ph_here.block, g = ph_here.grid;
    const struct ph_site *s = site ? &ph_here.kernel->sites[site - 1] : NULL;
    char where[40];
    snprintf(where, sizeof where, shared < PH_SHARED_BYTES ? "shared address %llu" : "%#llx", (unsigned long long)(shared < PH_SHARED_BYTES ? shared : address));
    ph_report("%s: %s of %u bytes at %s; the other access: %s, block (%llu,%llu,%llu), thread (%u,%u,%u)", what, verb[kind], bytes, where, ph_where(s),
              (unsigned long long)(block % g.x), (unsigned long long)(block / g.x % g.y), (unsigned long long)(block / g.x / g.y),
              thread % b.x, thread / b.x % b.y, thread / b.x / b.y);
}

/* ---- a block begins ---- */

static void mark_shared(void)
{
    static uint32_t marked;
    const struct ph_kernel *k = ph_here.kernel;
    if (marked > ph_here.shared_bytes) memset(shared_state + ph_here.shared_bytes, NOWHERE, marked - ph_here.shared_bytes);
    memset(shared_state, NOWHERE, k->shared_bytes);
    for (int i = 0; i < k->arrays; i++) memset(shared_state + k->array[i].from, UNWRITTEN, k->array[i].to - k->array[i].from);
    memset(shared_state + k->shared_bytes, UNWRITTEN, ph_here.shared_bytes - k->shared_bytes);
    marked = ph_here.shared_bytes;
}

/* Forgets every access, so that segments count from 1 again; between launches nothing is lost. */
static void restart_segments(void)
{
    if (device_cells) madvise(device_cells, CELLS_BYTES, MADV_DONTNEED);
    memset(shared_cells, 0, sizeof shared_cells);
    origin = ph_here.epoch - 1;
}

void ph_check_block(void)
{
    static uint64_t launch;
    if (!on) return;
    if (ph_here.launch != launch) {
        launch = ph_here.launch;
        if ((ph_here.epoch - origin) >> (63 - SEGMENT)) restart_segments();
        launch_floor = (ph_here.epoch - origin) << SEGMENT;
        n_blocks = 0;
    }
    block_floor = (ph_here.epoch - origin) << SEGMENT;
    if (n_blocks == room_blocks && !(blocks = realloc(blocks, (room_blocks = 2 * room_blocks + 64) * sizeof *blocks))) abort();
    blocks[n_blocks].segment = ph_here.epoch - origin;
    blocks[n_blocks++].linear = ph_here.linear;
    mark_shared();
}

/* ---- an access ---- */

#define INLINE static inline __attribute__((always_inline))

/* True if nothing orders the access `then`, known from its cell, before the access `now`. */
INLINE bool unordered(uint64_t then, uint64_t now, uint64_t floor)
{
    uint64_t differ = then ^ now, clock = now >> CLOCK & LATEST;
    if (then < floor) return false;
    if (then < block_floor) return true;
    if (differ >> SEGMENT || !(differ >> THREAD & 1023)) return false;
    return differ >> THREAD & (1023 & ~31) || ((then >> CLOCK & LATEST) >= clock && clock < LATEST);
}

INLINE bool clash(uint64_t then, uint64_t now, uint64_t floor) { return then & now & BYTES && unordered(then, now, floor); }

/* Keeps the first of two that stay unordered, and a second of another warp rather than of the same. */
INLINE void remember(struct cell *c, uint64_t now, uint64_t floor)
{
    if (!unordered(c->other[0], now, floor)) {
        if ((now & BYTES) != BYTES && !((c->other[0] ^ now) & ~(SITES | BYTES))) now |= c->other[0] & BYTES;
        c->other[0] = now;
    } else if (!unordered(c->other[1], now, floor) || ((c->other[0] ^ now) >> (THREAD + 5) & 31)) c->other[1] = now;
}

/* Returns the access that it races with, or 0. */
INLINE uint64_t enter(struct cell *c, uint64_t now, enum ph_kind kind, uint64_t floor)
{
    uint64_t other = 0;
    if (clash(c->writer, now, floor)) other = c->writer;
    for (int i = 0; i < 2; i++)
        if ((kind == PH_WRITE || (c->other[i] ^ now) & ATOMIC) && clash(c->other[i], now, floor)) other = c->other[i];
    if (kind == PH_WRITE) c->writer = now;
    else remember(c, now, floor);
    return other;
}

INLINE void enter_all(struct cell *cells, uint64_t address, uint32_t bytes, uint64_t now, enum ph_kind kind, uint64_t floor)
{
    uint64_t other = 0;
    if (bytes == 1) other = enter(cells, now | (1u << (address & 1)), kind, floor);
    else
        for (uint32_t i = 0; i < bytes / 2; i++) {
            uint64_t with = enter(&cells[i], now | BYTES, kind, floor);
            if (!other) other = with;
        }
    if (other) report_race(address, bytes, kind, other);
}

INLINE bool all_have(const uint8_t *state, uint32_t bytes, uint64_t bits)
{
    uint64_t pattern = bits * 0x0101010101010101u, word = 0;
    switch (bytes) {
    case 16: memcpy(&word, state + 8, 8); if ((word & pattern) != pattern) return false; __attribute__((fallthrough));
    case 8: memcpy(&word, state, 8); break;
    case 4: memcpy(&word, state, 4); pattern = (uint32_t)pattern; break;
    case 2: memcpy(&word, state, 2); pattern = (uint16_t)pattern; break;
    default: word = *state; pattern = bits;
    }
    return (word & pattern) == pattern;
}

/* The first byte that is the reason to complain. */
static uint8_t worst(const uint8_t *state, uint32_t bytes, uint64_t bits)
{
    for (uint32_t i = 0; i < bytes; i++) if (!(state[i] & UNWRITTEN)) return state[i];
    for (uint32_t i = 0; i < bytes; i++) if ((state[i] & bits) != bits) return state[i];
    return WRITTEN;
}

void ph_access(uint64_t address, uint32_t bytes, enum ph_kind kind, const struct ph_site *site)
{
    struct ph_thread *t = ph_now;
    t->site = site;
    if (address & (bytes - 1)) {
        report_place("misaligned", address, bytes, kind, WRITTEN);
        return;
    }
    uint64_t offset = address - PH_ARENA, floor = launch_floor;
    uint8_t *state = device_state + offset;
    struct cell *cells = device_cells + offset / 2;
    if (offset >= PH_ARENA_BYTES) {
        offset = address - PH_SHARED;
        if (offset >= PH_SHARED_BYTES) {
            if (address - (uintptr_t)t->stack >= PH_STACK) report_place("out of bounds", address, bytes, kind, NOWHERE);
            return;
        }
        state = shared_state + offset;
        cells = shared_cells + offset / 2;
        floor = block_floor;
    }
    uint64_t wanted = kind == PH_WRITE || kind == PH_START ? UNWRITTEN : WRITTEN;
    if (!all_have(state, bytes, wanted)) {
        uint8_t reason = worst(state, bytes, wanted);
        report_place(NULL, address, bytes, kind, reason);
        if (!(reason & UNWRITTEN)) return;
    }
    uint32_t clock = t->syncs < LATEST ? t->syncs : LATEST;
    uint64_t number = ph_here.kernel->sites ? (uint64_t)(site - ph_here.kernel->sites) + 1 : 0;
    uint64_t now = (ph_here.epoch - origin) << SEGMENT | (number << SITE & SITES) | (uint64_t)t->linear << THREAD | (uint64_t)clock << CLOCK;
    if (kind == PH_READ) enter_all(cells, address, bytes, now, PH_READ, floor);
    else if (kind == PH_ATOMIC) enter_all(cells, address, bytes, now | ATOMIC, PH_ATOMIC, floor);
    else enter_all(cells, address, bytes, now, PH_WRITE, floor);
    if (kind != PH_READ) memset(state, kind == PH_START ? UNWRITTEN : WRITTEN, bytes);
}
