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

#define DECLARE(name, has) \
    void isa_product_##name(const struct gemm *g, struct panels *p); \
    real isa_max_row_##name(const real *x, int64_t n); \
    double isa_exp_row_##name(real *x, int64_t n, real scale, real shift, real by); \
    void isa_softmax_back_##name(real *dp, const real *p, int64_t n, real mean, real scale); \
    void isa_sigmoid_row_##name(const real *x, real *y, int64_t n);
LEVELS(DECLARE)
#define ROW(name, has) { { #name, isa_product_##name, isa_max_row_##name, isa_exp_row_##name, isa_softmax_back_##name, isa_sigmoid_row_##name }, has },
static const struct { struct isa isa; bool (*has)(void); } levels[] = { LEVELS(ROW) };

static const struct isa *_Atomic chosen;

const struct isa *isa_level(int i)
{
    for (int at = 0; at < COUNT(levels); at++) if (levels[at].has() && i-- == 0) return &levels[at].isa;
    return NULL;
}

void isa_use(const struct isa *level) { chosen = level; }

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
