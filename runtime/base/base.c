/* Errors, arenas, hashes and keyed random numbers. */
#include "base.h"
#include "draw.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

int err_set(struct err *e, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(e->text, sizeof e->text, format, list);
    va_end(list);
    return -1;
}

int err_prefix(struct err *e, const char *format, ...)
{
    struct err old = *e;
    va_list list;
    va_start(list, format);
    int n = vsnprintf(e->text, sizeof e->text, format, list);
    va_end(list);
    if (n >= 0 && (size_t)n < sizeof e->text) snprintf(e->text + n, sizeof e->text - (size_t)n, "%s", old.text);
    return -1;
}

void invariant_broken(const char *file, int line, const char *format, ...)
{
    va_list list;
    fprintf(stderr, "%s:%d: broken invariant: ", file, line);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    abort();
}

void (*memory_short)(size_t bytes);

static void *demand(void *memory, size_t bytes)
{
    if (memory || bytes == 0) return memory;
    if (memory_short) memory_short(bytes);
    fprintf(stderr, "out of memory: %zu bytes of heap were wanted\n", bytes);
    exit(1);
}

void *xmalloc(size_t bytes) { return demand(malloc(bytes), bytes); }
void *xcalloc(size_t count, size_t bytes) { return demand(calloc(count, bytes), count * bytes); }
void *xrealloc(void *old, size_t bytes) { return demand(realloc(old, bytes), bytes); }

char *xstrdup(const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(xmalloc(n), text, n);
}

#define DIGITS(x) #x
#define POINTS(major, minor, patch) DIGITS(major) "." DIGITS(minor) "." DIGITS(patch)
#if defined __clang__                                       /* which claims to be gcc as well */
const char base_compiler[] = "clang " POINTS(__clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined __GNUC__
const char base_compiler[] = "gcc " POINTS(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
#error "name this compiler"
#endif

/* ---- arenas: a chain of chunks; the newest is first ---- */

enum { ALIGNMENT = 64, CHUNK = 1 << 16 };

struct chunk { struct chunk *next; size_t used, room; char *memory; };
struct arena { struct chunk *chunk; };

struct arena *arena_new(void) { return xcalloc(1, sizeof(struct arena)); }

void *arena_alloc(struct arena *a, size_t bytes)
{
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct chunk *c = a->chunk;
    if (!c || c->room - c->used < bytes) {
        c = xcalloc(1, sizeof *c);
        c->room = bytes > CHUNK ? bytes : CHUNK;
        c->memory = demand(aligned_alloc(ALIGNMENT, c->room), c->room);
        memset(c->memory, 0, c->room);
        c->next = a->chunk;
        a->chunk = c;
    }
    void *memory = c->memory + c->used;
    c->used += bytes;
    return memory;
}

void *arena_copy(struct arena *a, const void *from, size_t bytes)
{
    void *to = arena_alloc(a, bytes ? bytes : 1);
    return bytes ? memcpy(to, from, bytes) : to;
}

void *arena_more(struct arena *a, const void *old, int *room, size_t size)
{
    int before = *room;
    *room = before ? 2 * before : 16;
    void *more = arena_alloc(a, (size_t)*room * size);
    return before ? memcpy(more, old, (size_t)before * size) : more;
}

char *arena_text(struct arena *a, const char *format, ...)
{
    va_list list, copy;
    va_start(list, format);
    va_copy(copy, list);
    int n = vsnprintf(NULL, 0, format, list);
    va_end(list);
    INVARIANT(n >= 0, "a text cannot be formatted: %s", format);
    char *text = arena_alloc(a, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, copy);
    va_end(copy);
    return text;
}

void arena_free(struct arena *a)
{
    if (!a) return;
    for (struct chunk *c = a->chunk, *next; c; c = next) {
        next = c->next;
        free(c->memory);
        free(c);
    }
    free(a);
}

/* ---- names ---- */

const char *const better_name[] = { "none", "lower", "higher" };

/* Edit distance with transpositions (optimal string alignment). */
static int distance(const char *a, const char *b)
{
    enum { MOST = 63 };
    int n = (int)strlen(a), m = (int)strlen(b), row[3][MOST + 1];
    if (n > MOST || m > MOST) return n + m;
    for (int j = 0; j <= m; j++) row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *nearest_name(const char *given, const char *const *names)
{
    const char *best = NULL;
    int length = (int)strlen(given), least = length / 2 + 1;
    for (; *names; names++) {
        int d = distance(given, *names);
        if (d < least || (best && d == least && strlen(*names) < strlen(best))) { least = d; best = *names; }
    }
    return best;
}

/* ---- hashes ---- */

struct hash hash_bytes(const void *data, size_t bytes)
{
    XXH128_hash_t h = XXH3_128bits(data, bytes);
    return (struct hash){ h.low64, h.high64 };
}

struct hash hash_more(struct hash so_far, const void *data, size_t bytes)
{
    struct hash next[2] = { so_far, hash_bytes(data, bytes) };
    return hash_bytes(next, sizeof next);
}

bool hash_equal(struct hash a, struct hash b) { return a.low == b.low && a.high == b.high; }

void hash_print(struct hash h, char out[33])
{
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high, (unsigned long long)h.low);
}

char *hash_library(char out[32])
{
    unsigned v = XXH_versionNumber();
    snprintf(out, 32, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
    return out;
}

uint64_t hash_name(const char *text) { return XXH3_64bits(text, strlen(text)); }

/* ---- keyed random numbers ---- */

uint64_t key_mixed(struct key k)
{
    uint64_t words[3] = { k.seed, (uint64_t)k.purpose, k.name };
    return XXH3_64bits(words, sizeof words);
}

void key_bits(struct key k, uint64_t index, uint32_t out[4])
{
    philox4x32_ctr_t bits = draw_bits(key_mixed(k), index, k.step);
    memcpy(out, bits.v, sizeof bits.v);
}

static double unit(uint32_t high, uint32_t low)
{
    return ((double)(((uint64_t)high << 32 | low) >> 11) + 0.5) * 0x1p-53;
}

double key_uniform(struct key k, uint64_t index)
{
    uint32_t b[4];
    key_bits(k, index, b);
    return unit(b[0], b[1]);
}

double key_normal(struct key k, uint64_t index)
{
    uint32_t b[4];
    float pair[2];
    uint64_t word = index % DRAW_BLOCK / DRAW_INDICES;
    key_bits(k, index / DRAW_BLOCK * DRAW_INDICES + index % DRAW_INDICES, b);
    draw_normals(b[word & 2], b[word | 1], &pair[0], &pair[1]);
    return (double)pair[word & 1];
}

uint64_t key_below(struct key k, uint64_t index, uint64_t bound)
{
    uint32_t b[4];
    key_bits(k, index, b);
    return (uint64_t)((unsigned __int128)((uint64_t)b[0] << 32 | b[1]) * bound >> 64);
}

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double unix_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
