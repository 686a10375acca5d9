/* Loads and stores: every type and vector in every space, and each modifier that no program sees once. */
#include "operand.h"

enum space { GLOBAL, SHARED, LOCAL, CONSTANT, GENERIC };
static const u8 pattern[32] = { 0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8, 0x09, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70, 0xff, 0x7f, 0x80, 0x00, 0x01, 0x02, 0xfe, 0xfd };
static __constant__ u64 constant_pattern[4];

template <int N> struct load;
template <int N> struct store;
enum { FIRST = __COUNTER__ + 1 };

#define GIVE4(T) GIVEN(T, "%0", "a") GIVEN(T, "%1", "b") GIVEN(T, "%2", "c") GIVEN(T, "%3", "d")
#define TAKE4(T) TAKEN(T, "a", "%0") TAKEN(T, "b", "%1") TAKEN(T, "c", "%2") TAKEN(T, "d", "%3")
#define ZERO4 "mov.b64 %0, 0; mov.b64 %1, 0; mov.b64 %2, 0; mov.b64 %3, 0; "
#define GIVE_1(T) GIVEN(T, "%0", "a")
#define GIVE_2(T) GIVE_1(T) GIVEN(T, "%1", "b")
#define GIVE_4(T) GIVE_2(T) GIVEN(T, "%2", "c") GIVEN(T, "%3", "d")
#define LIST_1 "a"
#define LIST_2 "{a, b}"
#define LIST_4 "{a, b, c, d}"
#define LOAD(where, name, T, count) \
    template <> struct load<__COUNTER__ - FIRST> { \
        typedef t_##T::type type; enum { COUNT = count }; static constexpr enum space SPACE = where; \
        static const char *opcode() { return name; } \
        static __device__ void run(u64 *o, u64 address) { \
            u64 a, b, c, d; \
            asm volatile("{ " REG(T, "a") REG(T, "b") REG(T, "c") REG(T, "d") ZERO4 name " " LIST_##count ", [%4]; " GIVE_##count(T) "}" \
                         : "=&l"(a), "=&l"(b), "=&l"(c), "=&l"(d) : "l"(address) : "memory"); \
            o[0] = a; o[1] = b; o[2] = c; o[3] = d; } \
    };
#define VECTORS(X, where, name, T) X(where, name "." #T, T, 1) X(where, name ".v2." #T, T, 2)
#define NARROW(X, where, name, T) VECTORS(X, where, name, T) X(where, name ".v4." #T, T, 4)
#define TYPES(X, where, name) \
    NARROW(X, where, name, b8) NARROW(X, where, name, u8) NARROW(X, where, name, s8) NARROW(X, where, name, b16) NARROW(X, where, name, u16) NARROW(X, where, name, s16) \
    NARROW(X, where, name, b32) NARROW(X, where, name, u32) NARROW(X, where, name, s32) NARROW(X, where, name, f32) \
    VECTORS(X, where, name, b64) VECTORS(X, where, name, u64) VECTORS(X, where, name, s64) VECTORS(X, where, name, f64)
TYPES(LOAD, GLOBAL, "ld.global") TYPES(LOAD, GLOBAL, "ld.global.nc") TYPES(LOAD, SHARED, "ld.shared") TYPES(LOAD, LOCAL, "ld.local") TYPES(LOAD, CONSTANT, "ld.const") TYPES(LOAD, GENERIC, "ld")
#define LIFE(X, where, name) \
    X(where, name ".L1::evict_normal.b32", b32, 1) X(where, name ".L1::evict_unchanged.b32", b32, 1) X(where, name ".L1::evict_first.b32", b32, 1) \
    X(where, name ".L1::evict_last.b32", b32, 1) X(where, name ".L1::no_allocate.b32", b32, 1)
LIFE(LOAD, GLOBAL, "ld.global")
LOAD(GLOBAL, "ld.global.ca.b32", b32, 1) LOAD(GLOBAL, "ld.global.cg.v4.b32", b32, 4) LOAD(GLOBAL, "ld.global.cs.b32", b32, 1) LOAD(GLOBAL, "ld.global.lu.b32", b32, 1)
LOAD(GLOBAL, "ld.global.cv.b32", b32, 1) LOAD(GLOBAL, "ld.global.L2::64B.b32", b32, 1) LOAD(GLOBAL, "ld.global.L2::128B.v4.f32", f32, 4) LOAD(GLOBAL, "ld.global.L2::256B.b32", b32, 1)
LOAD(GLOBAL, "ld.global.nc.L1::no_allocate.L2::256B.v4.f32", f32, 4)
LOAD(SHARED, "ld.shared::cta.b32", b32, 1) LOAD(GENERIC, "ld.volatile.u32", u32, 1) LOAD(SHARED, "ld.volatile.shared.v2.u32", u32, 2)
LOAD(GLOBAL, "ld.relaxed.cta.global.u32", u32, 1) LOAD(GENERIC, "ld.relaxed.gpu.u64", u64, 1) LOAD(GLOBAL, "ld.acquire.sys.global.s32", s32, 1)
enum { LAST_LOAD = __COUNTER__ - FIRST - 1, FIRST_STORE = LAST_LOAD + 2 };

#define STORE(where, name, T, count) \
    template <> struct store<__COUNTER__ - FIRST> { \
        typedef t_##T::type type; enum { COUNT = count }; static constexpr enum space SPACE = where; \
        static const char *opcode() { return name; } \
        static __device__ void run(const u64 *v, u64 address) { \
            asm volatile("{ " REG(T, "a") REG(T, "b") REG(T, "c") REG(T, "d") TAKE4(T) name " [%4], " LIST_##count "; }" \
                         :: "l"(v[0]), "l"(v[1]), "l"(v[2]), "l"(v[3]), "l"(address) : "memory"); } \
    };
TYPES(STORE, GLOBAL, "st.global") TYPES(STORE, SHARED, "st.shared") TYPES(STORE, LOCAL, "st.local") TYPES(STORE, GENERIC, "st")
LIFE(STORE, GLOBAL, "st.global")
STORE(GLOBAL, "st.global.wb.b32", b32, 1) STORE(GLOBAL, "st.global.cg.v4.b32", b32, 4) STORE(GLOBAL, "st.global.cs.b32", b32, 1) STORE(GLOBAL, "st.global.wt.b32", b32, 1)
STORE(SHARED, "st.shared::cta.b32", b32, 1) STORE(SHARED, "st.volatile.shared.u32", u32, 1) STORE(GENERIC, "st.relaxed.cta.u32", u32, 1)
STORE(GLOBAL, "st.relaxed.gpu.global.f32", f32, 1) STORE(GLOBAL, "st.release.sys.global.u64", u64, 1)
enum { LAST_STORE = __COUNTER__ - FIRST - 1, FIRST_PARAM = LAST_STORE + 2 };

/* Parameters: written, handed to a function and back, read. */
struct parcel { u64 v[4]; };
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 1000
#define PARCEL_ALIGN "16"       /* as nvcc declares echo */
#else
#define PARCEL_ALIGN "8"
#endif
extern "C" __device__ __noinline__ parcel echo(parcel p)
{
    asm volatile("" : "+l"(p.v[0]), "+l"(p.v[1]), "+l"(p.v[2]), "+l"(p.v[3]));     /* or nvcc would see through it */
    return p;
}
template <int N> struct param;
#define PARAM(where, name, T, count) \
    template <> struct param<__COUNTER__ - FIRST> { \
        typedef t_##T::type type; enum { COUNT = count }; \
        static const char *opcode() { return name; } \
        static __device__ void run(u64 *v, u64) { \
            asm volatile("{ .param .align " PARCEL_ALIGN " .b8 p[32]; .param .align " PARCEL_ALIGN " .b8 q[32]; " REG(T, "a") REG(T, "b") REG(T, "c") REG(T, "d") TAKE4(T) \
                         "st" name " [p], " LIST_##count "; call (q), echo, (p); " \
                         "ld" name " " LIST_##count ", [q]; " GIVE4(T) "}" : "+l"(v[0]), "+l"(v[1]), "+l"(v[2]), "+l"(v[3])); } \
    };
TYPES(PARAM, GENERIC, ".param")
enum { LAST_PARAM = __COUNTER__ - FIRST - 1 };

template <template <int> class F, int FROM, int TO, class V> static __device__ void run(int which, V *v, u64 address)
{
    if constexpr (FROM == TO) F<FROM>::run(v, address);
    else if (which <= (FROM + TO) / 2) run<F, FROM, (FROM + TO) / 2>(which, v, address);
    else run<F, (FROM + TO) / 2 + 1, TO>(which, v, address);
}
/* The address of the copy of `m` that the thread has in the space; of generic addresses number `turn`. */
static __device__ u64 address_in(enum space where, int turn, u64 *global, u64 *shared, u64 *local)
{
    switch (where) {
    case GLOBAL: return __cvta_generic_to_global(global);
    case SHARED: return __cvta_generic_to_shared(shared);
    case LOCAL: return __cvta_generic_to_local(local);
    case CONSTANT: return __cvta_generic_to_constant(constant_pattern);
    default: return (u64)(turn == 0 ? global : turn == 1 ? shared : local);
    }
}
static __global__ void run_load(int which, enum space where, int turn, u64 *global, u64 *out)
{
    __shared__ u64 shared[4];
    volatile u64 local[4];
    for (int i = 0; i < 4; i++) { shared[i] = global[i]; local[i] = global[i]; }
    run<load, 0, LAST_LOAD>(which, out, address_in(where, turn, global, shared, (u64 *)local));
}
static __global__ void run_store(int which, enum space where, int turn, u64 *global, const u64 *values, u64 *out)
{
    __shared__ u64 shared[4];
    volatile u64 local[4];
    for (int i = 0; i < 4; i++) { shared[i] = global[i]; local[i] = global[i]; }
    run<store, FIRST_STORE, LAST_STORE>(which, values, address_in(where, turn, global, shared, (u64 *)local));
    for (int i = 0; i < 4; i++) out[i] = where == SHARED || (where == GENERIC && turn == 1) ? shared[i] : where == LOCAL || (where == GENERIC && turn == 2) ? local[i] : global[i];
}
static __global__ void run_param(int which, const u64 *values, u64 *out)
{
    parcel p;
    for (int i = 0; i < 4; i++) p.v[i] = values[i];
    p = echo(p);        /* declares it before the calls below */
    for (int i = 0; i < 4; i++) out[i] = p.v[i];
    run<param, FIRST_PARAM, LAST_PARAM>(which, out, 0);
}

static const u64 values[4] = { 0x8899aabbccddeeff, 0x123456789abcdef0, 0xf0e1d2c3b4a59687, 0x5a5a5a5aa5a5a5a5 };
static u64 *pattern_device() { return device((const u64 *)pattern, 4); }

template <class F> static void check_load(int which)
{
    if (conform_listing) { conform_name(F::opcode()); return; }
    CUDA(cudaMemcpyToSymbolAsync(constant_pattern, pattern, sizeof pattern, 0, cudaMemcpyHostToDevice, conform_stream));
    const char *failure = NULL;
    for (int turn = 0; turn < (F::SPACE == GENERIC ? 3 : 1); turn++) {
        u64 *global = pattern_device(), *out = device<u64>(NULL, 4), got[4];
        run_load<<<1, 1, 0, conform_stream>>>(which, F::SPACE, turn, global, out);
        host(got, out, 4);
        for (int i = 0; i < F::COUNT; i++) {
            typename F::type want;
            memcpy(&want, pattern + i * sizeof want, sizeof want);
            if (got[i] != to_bits(want)) failure = "loads something else";
        }
        CUDA(cudaFree(global));
        CUDA(cudaFree(out));
    }
    conform_result(F::opcode(), F::COUNT, failure);
}
template <class F> static void check_store(int which)
{
    if (conform_listing) { conform_name(F::opcode()); return; }
    const char *failure = NULL;
    for (int turn = 0; turn < (F::SPACE == GENERIC ? 3 : 1); turn++) {
        u64 *global = pattern_device(), *v = device(values, 4), *out = device<u64>(NULL, 4);
        u8 got[32], want[32];
        run_store<<<1, 1, 0, conform_stream>>>(which, F::SPACE, turn, global, v, out);
        host((u64 *)got, out, 4);
        memcpy(want, pattern, sizeof want);
        for (int i = 0; i < F::COUNT; i++) memcpy(want + i * sizeof(typename F::type), &values[i], sizeof(typename F::type));
        if (memcmp(got, want, sizeof got) != 0) failure = "stores something else";
        for (void *p : { (void *)global, (void *)v, (void *)out }) CUDA(cudaFree(p));
    }
    conform_result(F::opcode(), F::COUNT, failure);
}
template <class F> static void check_param(int which)
{
    char name[40];
    for (const char *verb : { "ld", "st" }) {
        snprintf(name, sizeof name, "%s%s", verb, F::opcode());
        if (conform_listing) { conform_name(name); continue; }
        u64 *v = device(values, 4), *out = device<u64>(NULL, 4), got[4];
        run_param<<<1, 1, 0, conform_stream>>>(which, v, out);
        host(got, out, 4);
        const char *failure = NULL;
        for (int i = 0; i < F::COUNT; i++) if (got[i] != to_bits(from_bits<typename F::type>(values[i]))) failure = "hands over something else";
        CUDA(cudaFree(v));
        CUDA(cudaFree(out));
        conform_result(name, F::COUNT, failure);
    }
}
template <int FROM, int TO> static void each_load()
{
    if constexpr (FROM == TO) check_load<load<FROM>>(FROM);
    else { each_load<FROM, (FROM + TO) / 2>(); each_load<(FROM + TO) / 2 + 1, TO>(); }
}
template <int FROM, int TO> static void each_store()
{
    if constexpr (FROM == TO) check_store<store<FROM>>(FROM);
    else { each_store<FROM, (FROM + TO) / 2>(); each_store<(FROM + TO) / 2 + 1, TO>(); }
}
template <int FROM, int TO> static void each_param()
{
    if constexpr (FROM == TO) check_param<param<FROM>>(FROM);
    else { each_param<FROM, (FROM + TO) / 2>(); each_param<(FROM + TO) / 2 + 1, TO>(); }
}
void check_memory()
{
    each_param<FIRST_PARAM, LAST_PARAM>();
    each_load<0, LAST_LOAD>();
    each_store<FIRST_STORE, LAST_STORE>();
}
