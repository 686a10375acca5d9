/* atom and red: what was there before, and what is there after. */
#include "operand.h"
#include "reference.h"

enum space { GLOBAL, SHARED, GENERIC };

template <int N> struct update;
enum { FIRST = __COUNTER__ + 1 };

#define UPDATE(arch, where, name, T, is_red, text, expected) \
    template <> struct update<__COUNTER__ - FIRST> { \
        typedef t_##T::type type; enum { NEEDS = arch, RED = is_red, KIND = t_##T::KIND }; static constexpr enum space SPACE = where; \
        static const char *opcode() { return name; } \
        static __device__ u64 run(u64 address, u64 x, u64 y) { u64 r = 0; ON_ARCH(arch, asm volatile(text : "=l"(r) : "l"(address), "l"(x), "l"(y) : "memory")); return r; } \
        static u64 expect(u64 before, u64 x, u64 y) { \
            auto old = from_bits<type>(before); auto a = from_bits<type>(x); auto b = from_bits<type>(y); (void)old; (void)a; (void)b; return to_bits((type)(expected)); } \
    };
#define ATOM(arch, where, name, T, expected) UPDATE(arch, where, name, T, 0, \
    "{ " REG(T, "d") REG(T, "a") TAKEN(T, "a", "%2") name " d, [%1], a; " GIVEN(T, "%0", "d") "}", expected)
#define CAS(arch, where, name, T) UPDATE(arch, where, name, T, 0, \
    "{ " REG(T, "d") REG(T, "a") REG(T, "b") TAKEN(T, "a", "%2") TAKEN(T, "b", "%3") name " d, [%1], a, b; " GIVEN(T, "%0", "d") "}", old == a ? b : old)
#define RED(arch, where, name, T, expected) UPDATE(arch, where, name, T, 1, \
    "{ " REG(T, "a") TAKEN(T, "a", "%2") name " [%1], a; mov.b64 %0, 0; }", expected)

#define SPACES(X, ...) X(GLOBAL, ".global", __VA_ARGS__) X(SHARED, ".shared", __VA_ARGS__) X(GENERIC, "", __VA_ARGS__)
#define BOTH(where, s, arch, op, T, expected) ATOM(arch, where, "atom" s "." op "." #T, T, expected) RED(arch, where, "red" s "." op "." #T, T, expected)
#define EXCHANGE(where, s, T) ATOM(80, where, "atom" s ".exch." #T, T, a)
#define COMPARE(where, s, T) CAS(80, where, "atom" s ".cas." #T, T)

static f32 plus(f32 a, f32 b) { return a + b; }
static f64 plus(f64 a, f64 b) { return a + b; }
static u32 pairs(const narrow_format *f, u32 a, u32 b)
{
    u16 one = f == &format_f16 ? 0x3c00 : 0x3f80;
    return (u32)narrow_fma(f, (u16)(a >> 16), one, (u16)(b >> 16)) << 16 | narrow_fma(f, (u16)a, one, (u16)b);
}
SPACES(BOTH, 80, "add", u32, old + a) SPACES(BOTH, 80, "add", s32, (u32)old + (u32)a) SPACES(BOTH, 80, "add", u64, old + a)
SPACES(BOTH, 80, "add", f32, plus(old, a)) SPACES(BOTH, 80, "add", f64, plus(old, a))
SPACES(BOTH, 80, "add.noftz", f16, narrow_fma(&format_f16, old, 0x3c00, a)) SPACES(BOTH, 90, "add.noftz", bf16, narrow_fma(&format_bf16, old, 0x3f80, a))
SPACES(BOTH, 80, "add.noftz", f16x2, pairs(&format_f16, old, a)) SPACES(BOTH, 90, "add.noftz", bf16x2, pairs(&format_bf16, old, a))
#define LEAST(T) SPACES(BOTH, 80, "min", T, std::min(old, a)) SPACES(BOTH, 80, "max", T, std::max(old, a))
LEAST(u32) LEAST(s32) LEAST(u64) LEAST(s64)
SPACES(BOTH, 80, "inc", u32, old >= a ? 0 : old + 1) SPACES(BOTH, 80, "dec", u32, old == 0 || old > a ? a : old - 1)
#define LOGIC(T) SPACES(BOTH, 80, "and", T, old & a) SPACES(BOTH, 80, "or", T, old | a) SPACES(BOTH, 80, "xor", T, old ^ a) SPACES(EXCHANGE, T) SPACES(COMPARE, T)
LOGIC(b32) LOGIC(b64) SPACES(COMPARE, b16)
#define PLUS(name) ATOM(80, GLOBAL, "atom" name, u32, old + a)
ATOM(80, GLOBAL, "atom.relaxed.cta.global.add.u32", u32, old + a) ATOM(80, GLOBAL, "atom.acquire.gpu.global.add.u32", u32, old + a)
ATOM(80, GLOBAL, "atom.release.sys.global.add.u32", u32, old + a) CAS(80, GLOBAL, "atom.acq_rel.gpu.global.cas.b32", b32)
ATOM(80, SHARED, "atom.shared::cta.add.u32", u32, old + a) RED(80, SHARED, "red.shared::cta.add.u32", u32, old + a)
RED(80, GLOBAL, "red.relaxed.cta.global.add.u32", u32, old + a) RED(80, GLOBAL, "red.release.gpu.global.add.u32", u32, old + a) RED(80, GENERIC, "red.relaxed.sys.add.u32", u32, old + a)
enum { LAST = __COUNTER__ - FIRST - 1 };

template <int FROM, int TO> static __device__ u64 run(int which, u64 address, u64 x, u64 y)
{
    if constexpr (FROM == TO) return update<FROM>::run(address, x, y);
    else return which <= (FROM + TO) / 2 ? run<FROM, (FROM + TO) / 2>(which, address, x, y) : run<(FROM + TO) / 2 + 1, TO>(which, address, x, y);
}
/* Of generic addresses the odd elements are in shared memory. */
static __global__ void run_update(int which, enum space where, int n, u64 *old, u64 *memory, const u64 *x, const u64 *y)
{
    __shared__ u64 shared;
    int i = blockIdx.x;
    bool in_shared = where == SHARED || (where == GENERIC && i % 2);
    shared = memory[i];
    u64 *m = in_shared ? &shared : memory + i;
    u64 address = where == GENERIC ? (u64)m : in_shared ? __cvta_generic_to_shared(m) : __cvta_generic_to_global(m);
    old[i] = run<0, LAST>(which, address, x[i], y[i]);
    if (in_shared) memory[i] = shared;
}

template <class F> static void check(int which)
{
    if (conform_listing) { conform_name(F::opcode()); return; }
    if (conform_arch < F::NEEDS) { conform_skip(F::opcode(), F::NEEDS); return; }
    enum kind kind = (enum kind)F::KIND;
    std::vector<u64> edges = operand_edges(kind), before, x, y;
    for (size_t i = 0; i < 2 * edges.size(); i++) {
        before.push_back(edges[i % edges.size()]);
        x.push_back(i % 3 ? edges[i * 5 % edges.size()] : before[i]);
        y.push_back(operand_random(kind));
    }
    size_t n = before.size();
    std::vector<u64> old(n), after(n);
    u64 *m = device(before.data(), n), *dx = device(x.data(), n), *dy = device(y.data(), n), *d = device<u64>(NULL, n);
    run_update<<<(int)n, 1, 0, conform_stream>>>(which, F::SPACE, (int)n, d, m, dx, dy);
    host(old.data(), d, n);
    host(after.data(), m, n);
    for (u64 *p : { m, dx, dy, d }) CUDA(cudaFree(p));
    const char *failure = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!F::RED && old[i] != before[i]) failure = "returns something else";
        if (!operand_same(kind, after[i], F::expect(before[i], x[i], y[i]), 0, 0)) failure = "leaves something else";
    }
    conform_result(F::opcode(), (long)n, failure);
}
template <int FROM, int TO> static void each()
{
    if constexpr (FROM == TO) check<update<FROM>>(FROM);
    else { each<FROM, (FROM + TO) / 2>(); each<(FROM + TO) / 2 + 1, TO>(); }
}
void check_atomic() { each<0, LAST>(); }
