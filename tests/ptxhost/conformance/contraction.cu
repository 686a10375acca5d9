/* A product and a sum. Without a rounding modifier they may become one instruction, which rounds once; with one they round twice. Contracted
   kernels must show the first, or they test nothing; a GPU shows what its assembler does. */
#include "reference.h"

enum { TRIALS = 64 };

/* ONCE: may round once, and does if contracted. EITHER: may, but the translator is not that clever. TWICE: must round twice. */
enum rounds { ONCE, EITHER, TWICE };

/* X(of the product, of c, rounds, PTX): the signs, and what makes d of a, b and c with the register t. T: the type. p is true. */
#define PAIRS(X, T) \
    X(1, 1, ONCE, "mul." T " t, a, b; add." T " d, t, c;") \
    X(1, 1, ONCE, "mul." T " t, a, b; add." T " d, c, t;") \
    X(1, -1, ONCE, "mul." T " t, a, b; sub." T " d, t, c;") \
    X(-1, 1, ONCE, "mul." T " t, a, b; sub." T " d, c, t;") \
    X(1, 1, ONCE, "mul." T " t, a, b; mov." T " d, t; @p add." T " d, t, c;") \
    X(1, 1, EITHER, "mul." T " t, a, b; mov." T " a, c; add." T " d, t, a;") \
    X(1, 1, EITHER, "mov." T " t, a; mul." T " t, t, b; add." T " d, t, c;") \
    X(1, 1, TWICE, "mul.rn." T " t, a, b; add.rn." T " d, t, c;") \
    X(1, 1, TWICE, "mul.rn." T " t, a, b; add." T " d, t, c;") \
    X(1, 1, TWICE, "mul." T " t, a, b; add.rn." T " d, t, c;") \
    X(1, -1, TWICE, "mul.rn." T " t, a, b; sub.rn." T " d, t, c;") \
    X(1, 1, TWICE, "mul." T " t, c, b; mul.rn." T " t, a, b; add." T " d, t, c;") \
    X(1, 1, TWICE, "mul.rn." T " t, a, b; @!p mul." T " t, c, b; add." T " d, t, c;") \
    X(1, 1, TWICE, "mul.rn." T " t, a, b; @p bra over; mul." T " t, c, b; over: add." T " d, t, c;")

struct pair { int product, c; enum rounds rounds; const char *ptx; };
#define PAIR(product, c, rounds, ptx) { product, c, rounds, ptx },
static const struct pair pairs_f32[] = { PAIRS(PAIR, "f32") }, pairs_f64[] = { PAIRS(PAIR, "f64") };
enum { KINDS = sizeof pairs_f32 / sizeof *pairs_f32 };

#define RUN(T, constraint, ptx) { \
    T d; \
    asm volatile("{ .reg .pred p; .reg ." #T " a, b, c, d, t; mov." #T " a, %1; mov." #T " b, %2; mov." #T " c, %3; setp.eq." #T " p, a, a; " ptx " mov." #T " %0, d; }" \
                 : "=" constraint(d) : constraint(a[0]), constraint(a[1]), constraint(a[2])); \
    *to++ = d; }
#define RUN_F32(product, c, rounds, ptx) RUN(f32, "f", ptx)
#define RUN_F64(product, c, rounds, ptx) RUN(f64, "d", ptx)
static __global__ void run(f32 *to, const f32 *from)
{
    const f32 *a = from + 3 * threadIdx.x;
    to += KINDS * threadIdx.x;
    PAIRS(RUN_F32, "f32")
}
static __global__ void run(f64 *to, const f64 *from)
{
    const f64 *a = from + 3 * threadIdx.x;
    to += KINDS * threadIdx.x;
    PAIRS(RUN_F64, "f64")
}

/* c is the rounded product, but for its sign: rounded twice, one of a b + c and a b - c is 0, and rounded once it is what the product lost. */
template <class T> static void check(const struct pair *pairs)
{
    T from[3 * TRIALS], got[KINDS * TRIALS];
    for (int i = 0; i < TRIALS; i++) {
        T *x = from + 3 * i;
        for (int k = 0; k < 2; k++) x[k] = 1 + (T)(conform_random() >> 11) * (T)0x1p-53;
        x[2] = (i % 2 ? 1 : -1) * kept(x[0] * x[1]);
    }
    T *in = device(from, 3 * TRIALS), *out = device<T>(NULL, KINDS * TRIALS);
    run<<<1, TRIALS, 0, conform_stream>>>(out, in);
    host(got, out, KINDS * TRIALS);
    CUDA(cudaFree(in));
    CUDA(cudaFree(out));
    for (int k = 0; k < KINDS; k++) {
        const char *failure = NULL;
        int rounded_once = 0;
        for (int i = 0; i < TRIALS; i++) {
            T a = pairs[k].product * from[3 * i], b = from[3 * i + 1], c = pairs[k].c * from[3 * i + 2], d = got[KINDS * i + k];
            T once = (T)fma(kept(a), kept(b), kept(c)), twice = kept(a * b) + c;
            if (d != twice && d != once) failure = "neither a product and a sum nor a multiply-add";
            rounded_once += d == once && once != twice;
        }
        if (pairs[k].rounds == TWICE && rounded_once) failure = "rounded once";
        if (pairs[k].rounds == ONCE && conform_contracted && !rounded_once) failure = "not contracted";
        conform_result(pairs[k].ptx, TRIALS, failure);
    }
}

void check_contraction()
{
    if (conform_listing) return;
    check<f32>(pairs_f32);
    check<f64>(pairs_f64);
}
