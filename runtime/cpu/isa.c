/* Choice of the instruction set. */
#include "isa.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static bool always(void) { return true; }

#if defined __x86_64__
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#define LEVELS(X) X(avx512, has_avx512) X(avx2, has_avx2) X(sse2, always)
#else
#define LEVELS(X) X(portable, always)
#endif

#define DECLARE(name, has) extern const struct level isa_level_##name;
LEVELS(DECLARE)
#define ROW(name, has) { { #name, &isa_level_##name, NULL }, has },
static const struct { struct isa isa; bool (*has)(void); } levels[] = { LEVELS(ROW) };

static const struct isa *_Atomic chosen;

const struct isa *isa_level(int i)
{
    for (int at = 0; at < COUNT(levels); at++) if (levels[at].has() && i-- == 0) return &levels[at].isa;
    return NULL;
}

void isa_use(const struct isa *wanted) { chosen = wanted; }

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
    if (!chosen) chosen = choose();
    return chosen;
}

void gemm(const struct args *a, const struct gemm *g) { isa()->level->gemm(a, g); }
void gemm_here(const struct gemm *g) { isa()->level->gemm_here(g); }
const real *row_widen(const struct tensor *t, int64_t at, int64_t n, real *scratch) { return isa()->level->row_widen(t, at, n, scratch); }
void row_narrow(const struct tensor *t, int64_t at, int64_t n, const real *row) { isa()->level->row_narrow(t, at, n, row); }
