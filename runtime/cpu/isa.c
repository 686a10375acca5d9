/* Choice of the instruction set. */
#include "isa.h"
#include "cpu/dot/amx.h"
#include "cpu/dot/avx512bf16.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static bool always(void) { return true; }

#ifdef SLUICE_DOUBLE
#define DOT(product) NULL
#else
#define DOT(product) product
#endif

/* The dot product of AVX512_BF16 runs at twice the rate of multiply-adds on AMD's processors and at half of it on
   Intel's, where it is had by asking for it only. No feature bit tells. */
#if defined __x86_64__
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
static bool has_amx(void) { return has_avx512() && amx_available(); }

static bool has_fast_bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd");
}

static bool has_slow_bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("amd");
}
#define LEVELS(X) X(avx512) X(avx2) X(sse2)
#define SETS(X) \
    X(amx, avx512, DOT(dot_amx), has_amx) \
    X(avx512bf16, avx512, DOT(dot_avx512bf16), has_fast_bf16) \
    X(avx512, avx512, NULL, has_avx512) \
    X(avx512bf16, avx512, DOT(dot_avx512bf16), has_slow_bf16) \
    X(avx2, avx2, NULL, has_avx2) X(sse2, sse2, NULL, always)
#else
#define LEVELS(X) X(portable)
#define SETS(X) X(portable, portable, NULL, always)
#endif

#define DECLARE(name) extern const struct level isa_level_##name;
LEVELS(DECLARE)
/* LEVEL_name: &isa_level_name, or NULL in a build without that set. */
#define ROW(name, level, dot, has) { { #name, LEVEL_##level, dot }, has },
static const struct { struct isa isa; bool (*has)(void); } sets[] = { SETS(ROW) };

static const struct isa *_Atomic chosen;

const struct isa *isa_level(int i)
{
    for (int at = 0; at < COUNT(sets); at++)
        if (sets[at].isa.level && sets[at].has() && i-- == 0) return &sets[at].isa;
    return NULL;
}

void isa_use(const struct isa *wanted)
{
    if (wanted) dot_in_use = wanted->dot;
    chosen = wanted;
}

static const struct isa *choose(void)
{
    const char *wanted = getenv("SLUICE_ISA");
    if (!wanted) return isa_level(0);
    for (int i = 0; isa_level(i); i++) if (strcmp(isa_level(i)->name, wanted) == 0) return isa_level(i);
    fprintf(stderr, "SLUICE_ISA=%s: this processor has", wanted);
    for (int i = 0; isa_level(i); i++) fprintf(stderr, " %s", isa_level(i)->name);
    fprintf(stderr, "\n");
    exit(2);
}

const struct isa *isa(void)
{
    if (!chosen) isa_use(choose());
    return chosen;
}

void gemm(const struct args *a, const struct gemm *g) { isa()->level->gemm(a, g); }
void gemm_here(const struct gemm *g) { isa()->level->gemm_here(g); }

const real *row_widen(const struct tensor *t, int64_t at, int64_t n, real *scratch)
{
    return isa()->level->row_widen(t, at, n, scratch);
}

void row_narrow(const struct tensor *t, int64_t at, int64_t n, const real *row)
{
    isa()->level->row_narrow(t, at, n, row);
}

void key_normals(struct key k, uint64_t first, int64_t n, float cut, float *to)
{
    isa()->level->key_normals(k, first, n, cut, to);
}
