/* Forms that map up to three registers to one. FORM1, FORM2, FORM3 define one each:

     FORM2(80, "add.s32", s32, s32, s32, "", a + b)     least architecture, opcode, types of result and sources, further operands, reference

   where the reference sees the sources as a, b, c. ABOUT1 and ABOUT2 have a tolerance. A file of forms ends in FORMS(name). */
#ifndef SLUICE_CONFORMANCE_VALUE_H
#define SLUICE_CONFORMANCE_VALUE_H

#include "operand.h"
#include "reference.h"

/* Each file has its own forms; FORMS closes the namespace. */
namespace {

template <int N> struct form;
enum { FIRST_FORM = __COUNTER__ + 1 };

#define FORM(arch, name, D, A, B, C, text, tolerance, margin, expected) \
    template <> struct form<__COUNTER__ - FIRST_FORM> { \
        static const char *opcode() { return name; } \
        enum { NEEDS = arch, K_D = t_##D::KIND, K_A = t_##A::KIND, K_B = t_##B::KIND, K_C = t_##C::KIND }; \
        static f64 ulps() { return tolerance; } \
        static f64 absolute() { return margin; } \
        static __device__ void run(u64 *d, u64 x, u64 y, u64 z) { u64 r = 0; ON_ARCH(arch, asm volatile(text : "=l"(r) : "l"(x), "l"(y), "l"(z))); *d = r; } \
        static u64 expect(u64 x, u64 y, u64 z) { \
            auto a = from_bits<t_##A::type>(x); auto b = from_bits<t_##B::type>(y); auto c = from_bits<t_##C::type>(z); \
            (void)a; (void)b; (void)c; return to_bits((t_##D::type)(expected)); } \
    };
#define TEXT1(name, D, A, more) "{ " REG(D, "d") REG(A, "a") TAKEN(A, "a", "%1") name " d, a" more "; " GIVEN(D, "%0", "d") "}"
#define TEXT2(name, D, A, B, more) "{ " REG(D, "d") REG(A, "a") REG(B, "b") TAKEN(A, "a", "%1") TAKEN(B, "b", "%2") name " d, a, b" more "; " GIVEN(D, "%0", "d") "}"
#define TEXT3(name, D, A, B, C, more) "{ " REG(D, "d") REG(A, "a") REG(B, "b") REG(C, "c") TAKEN(A, "a", "%1") TAKEN(B, "b", "%2") TAKEN(C, "c", "%3") \
    name " d, a, b, c" more "; " GIVEN(D, "%0", "d") "}"
#define FORM1(arch, name, D, A, more, expected) FORM(arch, name, D, A, none, none, TEXT1(name, D, A, more), 0, 0, expected)
#define FORM2(arch, name, D, A, B, more, expected) FORM(arch, name, D, A, B, none, TEXT2(name, D, A, B, more), 0, 0, expected)
#define FORM3(arch, name, D, A, B, C, more, expected) FORM(arch, name, D, A, B, C, TEXT3(name, D, A, B, C, more), 0, 0, expected)
#define ABOUT1(arch, name, D, A, ulps, absolute, expected) FORM(arch, name, D, A, none, none, TEXT1(name, D, A, ""), ulps, absolute, expected)
#define ABOUT2(arch, name, D, A, B, ulps, absolute, expected) FORM(arch, name, D, A, B, none, TEXT2(name, D, A, B, ""), ulps, absolute, expected)

template <int FROM, int TO> static __device__ void form_run(int which, u64 *d, u64 x, u64 y, u64 z)
{
    if constexpr (FROM == TO) form<FROM>::run(d, x, y, z);
    else if (which <= (FROM + TO) / 2) form_run<FROM, (FROM + TO) / 2>(which, d, x, y, z);
    else form_run<(FROM + TO) / 2 + 1, TO>(which, d, x, y, z);
}
template <int FROM, int TO, class F> static void form_each(F f)
{
    if constexpr (FROM == TO) {
        typedef form<FROM> o;
        f(FROM, form_row{ o::opcode(), o::NEEDS, (enum kind)o::K_D, (enum kind)o::K_A, (enum kind)o::K_B, (enum kind)o::K_C, o::ulps(), o::absolute(), o::expect });
    } else {
        form_each<FROM, (FROM + TO) / 2>(f);
        form_each<(FROM + TO) / 2 + 1, TO>(f);
    }
}

#define FORMS(name) \
    enum { LAST_FORM = __COUNTER__ - FIRST_FORM - 1 }; \
    static __global__ void run_##name(int which, int n, u64 *d, const u64 *x, const u64 *y, const u64 *z) { \
        int i = blockIdx.x * blockDim.x + threadIdx.x; \
        if (i < n) form_run<0, LAST_FORM>(which, d + i, x[i], y[i], z[i]); } \
    static void launch_##name(int which, int n, u64 *d, const u64 *x, const u64 *y, const u64 *z) { run_##name<<<(n + 127) / 128, 128, 0, conform_stream>>>(which, n, d, x, y, z); } \
    } \
    void check_##name() { form_each<0, LAST_FORM>([](int which, const form_row &row) { form_check(&row, which, launch_##name); }); }

#endif
