/* What everything stands on: the number type, errors, arenas, text, hashes, keyed random numbers. */
#ifndef SLUICE_BASE_H
#define SLUICE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number that kernels compute in. The library is built twice: float for work, double (SLUICE_DOUBLE)
   for gradient checks. */
#ifdef SLUICE_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* An error is a text for a person: path of the key, value, rule, nearest legal name. */
struct err { char text[1024]; };
int err_set(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));   /* returns -1 */
/* puts a place in front; returns -1 */
int err_prefix(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What this was compiled with: "gcc 12.2.0", "clang 14.0.6". */
extern const char base_compiler[];

/* A broken invariant of the program itself: prints the place and aborts. Never for a user's mistake. */
#define INVARIANT(ok, ...) ((ok) ? (void)0 : invariant_broken(__FILE__, __LINE__, __VA_ARGS__))
void invariant_broken(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

/* Memory that dies together. Allocations are zeroed and aligned to 64 bytes; there is no free of one thing. */
struct arena;
struct arena *arena_new(void);
void *arena_alloc(struct arena *a, size_t bytes);
char *arena_text(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *arena_copy(struct arena *a, const void *from, size_t bytes);
/* An array of `room` elements that is full, copied to one with room for twice as many, 16 at first. */
void *arena_more(struct arena *a, const void *old, int *room, size_t size);
void arena_free(struct arena *a);

/* Heap that cannot be NULL: out of memory prints what was wanted and leaves with exit code 1, or calls memory_short. */
extern void (*memory_short)(size_t bytes);
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *old, size_t bytes);
char *xstrdup(const char *text);

/* The name in a list ended by NULL that is nearest to `given` by edit distance, or NULL when none is near. */
const char *nearest_name(const char *given, const char *const *names);

/* Which values of a metric are the better ones; NONE: it describes and does not judge. */
enum better { BETTER_NONE, BETTER_LOWER, BETTER_HIGHER };
extern const char *const better_name[];

/* XXH128 of bytes (XXH3, seed 0); hash_more chains. Text is xxHash's canonical form: 32 lower-case hexadecimal digits,
   high before low. In files it lies as this struct, little-endian: the canonical bytes backwards. */
struct hash { uint64_t low, high; };
struct hash hash_bytes(const void *data, size_t bytes);
struct hash hash_more(struct hash so_far, const void *data, size_t bytes);
bool hash_equal(struct hash a, struct hash b);
void hash_print(struct hash h, char out[33]);
char *hash_library(char out[32]);                           /* version of xxHash that runs */
uint64_t hash_name(const char *text);                       /* 64 bits, for keys */

/* Keyed random numbers: Philox4x32-10, a function of (seed, purpose, name, step, index) and of nothing else.
   No generator state anywhere; the same values on every backend. */
enum purpose { PURPOSE_INIT, PURPOSE_DATA, PURPOSE_NOISE, PURPOSE_EVAL, PURPOSE_SAMPLE, PURPOSE_TEST, PURPOSE_HASH };
struct key { uint64_t seed; enum purpose purpose; uint64_t name; uint64_t step; };
void key_bits(struct key k, uint64_t index, uint32_t out[4]);
uint64_t key_mixed(struct key k);                           /* Philox's own key: seed, purpose and name */
double key_uniform(struct key k, uint64_t index);           /* (0,1), 53 bits */
double key_normal(struct key k, uint64_t index);  /* N(0,1), in the precision of float; many: key_normals of kernel.h */
uint64_t key_below(struct key k, uint64_t index, uint64_t bound);   /* [0,bound) */

/* What noise is drawn as: N(0,1); uniform in (0,1); the standard Gumbel, -ln(-ln u). */
enum noise_kind { NOISE_NORMAL, NOISE_UNIFORM, NOISE_GUMBEL };

/* Numbers of 8 bits, see fp8.h; none: values stay as they are. */
enum fp8_format { FP8_NONE, FP8_E4M3, FP8_E5M2 };

/* What values are kept in: see nf4.h, with sizes of blocks as floats or as bytes. */
enum kept_as { KEPT_FLOAT, KEPT_NF4, KEPT_NF4_DOUBLE };

double clock_seconds(void);                                 /* monotonic */
double unix_seconds(void);                                  /* since 1970, by the clock on the wall */

#endif
