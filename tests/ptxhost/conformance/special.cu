/* What is left: registers in pairs, addresses, barriers, asynchronous copies, control. Each kernel writes ok[i] = 1 for thread i if all is well. */
#include "conformance.h"

enum { THREADS = 64 };

/* ---- moves between registers of different width ---- */

static __global__ void moves(int *ok)
{
    u64 wide = 0x123456789abcdef0 + threadIdx.x, back64, back4;
    u32 low, high, back32;
    u16 a, b, c, d, e, f;
    asm volatile("mov.b64 {%0, %1}, %2;" : "=r"(low), "=r"(high) : "l"(wide));
    asm volatile("mov.b64 %0, {%1, %2};" : "=l"(back64) : "r"(low), "r"(high));
    asm volatile("mov.b64 {%0, %1, %2, %3}, %4;" : "=h"(a), "=h"(b), "=h"(c), "=h"(d) : "l"(wide));
    asm volatile("mov.b64 %0, {%1, %2, %3, %4};" : "=l"(back4) : "h"(a), "h"(b), "h"(c), "h"(d));
    asm volatile("mov.b32 {%0, %1}, %2;" : "=h"(e), "=h"(f) : "r"(low));
    asm volatile("mov.b32 %0, {%1, %2};" : "=r"(back32) : "h"(e), "h"(f));
    ok[threadIdx.x] = low == (u32)wide && high == (u32)(wide >> 32) && back64 == wide && back4 == wide && back32 == low && a == (u16)wide && b == (u16)(wide >> 16) &&
                      c == (u16)(wide >> 32) && d == (u16)(wide >> 48) && e == (u16)low && f == (u16)(low >> 16);
}

/* ---- addresses ---- */

static __constant__ int constant_value = 77;
static __device__ int global_value = 78;
static __global__ void addresses(int *ok)
{
    __shared__ int shared[THREADS];
    volatile int local[2];
    int *s = shared + threadIdx.x, *l = (int *)local, a, b, c, d;
    *s = (int)threadIdx.x;
    local[0] = local[1] = (int)threadIdx.x + 1;
    u64 space[4], back[4];
    asm volatile("cvta.to.global.u64 %0, %1;" : "=l"(space[0]) : "l"(&global_value));
    asm volatile("cvta.to.const.u64 %0, %1;" : "=l"(space[1]) : "l"(&constant_value));
    asm volatile("cvta.to.shared.u64 %0, %1;" : "=l"(space[2]) : "l"(s));
    asm volatile("cvta.to.local.u64 %0, %1;" : "=l"(space[3]) : "l"(l));
    asm volatile("ld.global.s32 %0, [%1];" : "=r"(a) : "l"(space[0]) : "memory");
    asm volatile("ld.const.s32 %0, [%1];" : "=r"(b) : "l"(space[1]) : "memory");
    asm volatile("ld.shared.s32 %0, [%1];" : "=r"(c) : "l"(space[2]) : "memory");
    asm volatile("ld.local.s32 %0, [%1];" : "=r"(d) : "l"(space[3]) : "memory");
    asm volatile("cvta.global.u64 %0, %1;" : "=l"(back[0]) : "l"(space[0]));
    asm volatile("cvta.const.u64 %0, %1;" : "=l"(back[1]) : "l"(space[1]));
    asm volatile("cvta.shared.u64 %0, %1;" : "=l"(back[2]) : "l"(space[2]));
    asm volatile("cvta.local.u64 %0, %1;" : "=l"(back[3]) : "l"(space[3]));
    asm volatile("prefetch.L1 [%0]; prefetch.L2 [%0]; prefetchu.L1 [%0];" :: "l"(&global_value));
    asm volatile("prefetch.global.L1 [%0]; prefetch.global.L2 [%0];" :: "l"(space[0]));
    ok[threadIdx.x] = a == 78 && b == 77 && c == (int)threadIdx.x && d == (int)threadIdx.x + 1 && back[0] == (u64)&global_value && back[1] == (u64)&constant_value &&
                      back[2] == (u64)s && back[3] == (u64)l;
}

/* ---- structures by value ---- */
struct pieces { s8 a; u8 b; s16 c; u16 d; s32 e; u32 f; s64 g; u64 h; f32 i; f64 j; float2 k; float4 l; uint2 m; uint4 n; short2 o; short4 q; uchar4 r; char4 s; double2 t; ulonglong2 u; };
static __host__ __device__ __noinline__ f64 total(struct pieces p)
{
    return p.a + p.b + p.c + p.d + p.e + p.f + (f64)p.g + (f64)p.h + p.i + p.j + p.k.x * 2 + p.k.y + p.l.x * 3 + p.l.y + p.l.z * 5 + p.l.w + p.m.x * 7.0 + p.m.y + p.n.x + p.n.y * 11.0 + p.n.z + p.n.w +
           p.o.x * 13 + p.o.y + p.q.x + p.q.y * 17 + p.q.z + p.q.w + p.r.x * 19 + p.r.y + p.r.z + p.r.w + p.s.x + p.s.y * 23 + p.s.z + p.s.w + p.t.x * 29 + p.t.y + (f64)p.u.x * 31 + (f64)p.u.y;
}
static struct pieces some_pieces()
{
    return { -1, 200, -300, 60000, -70000, 4000000000u, -5000000000, 6000000000, 1.5f, 2.25, { 3, 4 }, { 5, 6, 7, 8 }, { 9, 10 }, { 11, 12, 13, 14 }, { -15, 16 }, { 17, -18, 19, 20 },
             { 21, 22, 23, 24 }, { -25, 26, 27, 28 }, { 29.5, 30 }, { 31, 32 } };
}
static __global__ void parameters(int *ok, struct pieces p, f64 want) { ok[threadIdx.x] = total(p) == want; }

/* ---- barriers ---- */

#define BARRIER(opcode) { s[threadIdx.x] = round; asm volatile(opcode " 0;" ::: "memory"); good = good && s[(threadIdx.x + 33) % THREADS] == round; __syncthreads(); round++; }
#define POPC(opcode) { u32 n; asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; " opcode " %0, 0, p; }" : "=r"(n) : "r"(threadIdx.x % 3) : "memory"); good = good && n == 42; }
#define TEST(opcode, some, whole) { u32 n, m; \
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; " opcode " p, 0, p; selp.u32 %0, 1, 0, p; }" : "=r"(n) : "r"((u32)(threadIdx.x == 9)) : "memory"); \
    asm volatile("{ .reg .pred p; setp.eq.u32 p, %1, %1; " opcode " p, 0, p; selp.u32 %0, 1, 0, p; }" : "=r"(m) : "r"(threadIdx.x) : "memory"); \
    good = good && n == some && m == whole; }
static __global__ void barriers(int *ok)
{
    __shared__ volatile int s[THREADS];
    int round = 1;
    bool good = true;
    BARRIER("bar.sync") BARRIER("bar.cta.sync") BARRIER("barrier.sync") BARRIER("barrier.sync.aligned") BARRIER("barrier.cta.sync") BARRIER("barrier.cta.sync.aligned")
    POPC("bar.red.popc.u32") POPC("bar.cta.red.popc.u32") POPC("barrier.red.popc.u32") POPC("barrier.red.popc.aligned.u32") POPC("barrier.cta.red.popc.u32") POPC("barrier.cta.red.popc.aligned.u32")
    TEST("bar.red.and.pred", 0, 1) TEST("bar.cta.red.and.pred", 0, 1) TEST("barrier.red.and.pred", 0, 1) TEST("barrier.red.and.aligned.pred", 0, 1)
    TEST("barrier.cta.red.and.pred", 0, 1) TEST("barrier.cta.red.and.aligned.pred", 0, 1)
    TEST("bar.red.or.pred", 1, 1) TEST("bar.cta.red.or.pred", 1, 1) TEST("barrier.red.or.pred", 1, 1) TEST("barrier.red.or.aligned.pred", 1, 1)
    TEST("barrier.cta.red.or.pred", 1, 1) TEST("barrier.cta.red.or.aligned.pred", 1, 1)
    s[threadIdx.x] = -1;
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
    good = good && s[threadIdx.x ^ 1] == -1;
    asm volatile("membar.cta; membar.gl; membar.sys; fence.sc.cta; fence.sc.gpu; fence.sc.sys; fence.acq_rel.cta; fence.acq_rel.gpu; fence.acq_rel.sys;" ::: "memory");
    asm volatile("fence.cta; fence.gpu; fence.sys;" ::: "memory");
    ok[threadIdx.x] = good;
}

/* ---- asynchronous copies ---- */

#define COPY(opcode, bytes, more) asm volatile(opcode " [%0], [%1], " #bytes more ";" :: "r"(to), "l"(from) : "memory")
#define COPY_PART(opcode, bytes, part) asm volatile(opcode " [%0], [%1], " #bytes ", %2;" :: "r"(to), "l"(from), "r"(part) : "memory")
/* As many bytes as `part` of `from`, then zeroes. */
static __device__ bool arrived(const volatile u8 *s, const u8 *from, int bytes, int part)
{
    bool good = true;
    for (int i = 0; i < bytes; i++) good = good && s[i] == (i < part ? from[i] : 0);
    return good;
}
static __global__ void copies(int *ok, const u8 *memory)
{
    __shared__ __align__(16) u8 shared[THREADS][64];
    u8 *s = shared[threadIdx.x];
    const u8 *m = memory + 16 * threadIdx.x;
    u32 to = (u32)__cvta_generic_to_shared(s);
    u64 from = __cvta_generic_to_global(m);
    bool good = true;
    COPY("cp.async.ca.shared.global", 4, ""); asm volatile("cp.async.commit_group; cp.async.wait_group 0;" ::: "memory"); good = good && arrived(s, m, 4, 4);
    COPY("cp.async.ca.shared.global", 8, ""); asm volatile("cp.async.commit_group; cp.async.wait_group 0;" ::: "memory"); good = good && arrived(s, m, 8, 8);
    COPY("cp.async.ca.shared.global", 16, ""); asm volatile("cp.async.wait_all;" ::: "memory"); good = good && arrived(s, m, 16, 16);
    for (int i = 0; i < 64; i++) s[i] = 99;
    COPY("cp.async.cg.shared.global.L2::128B", 16, ""); asm volatile("cp.async.wait_all;" ::: "memory"); good = good && arrived(s, m, 16, 16);
    COPY("cp.async.ca.shared.global.L2::64B", 4, ""); COPY("cp.async.cg.shared.global.L2::64B", 16, ""); COPY("cp.async.cg.shared.global.L2::256B", 16, "");
    COPY("cp.async.ca.shared::cta.global.L2::128B", 8, ""); COPY("cp.async.ca.shared.global.L2::256B", 8, ""); asm volatile("cp.async.wait_all;" ::: "memory");
    good = good && arrived(s, m, 16, 16);
    for (int part = 0; part <= 16; part++) {
        COPY_PART("cp.async.cg.shared.global", 16, part); asm volatile("cp.async.wait_all;" ::: "memory"); good = good && arrived(s, m, 16, part);
        if (part <= 8) { COPY_PART("cp.async.ca.shared.global", 8, part); asm volatile("cp.async.wait_all;" ::: "memory"); good = good && arrived(s, m, 8, part); }
        if (part <= 4) { COPY_PART("cp.async.ca.shared.global", 4, part); asm volatile("cp.async.wait_all;" ::: "memory"); good = good && arrived(s, m, 4, part); }
    }
    /* Four groups; waiting for all but n lands the older ones. */
    for (int group = 0; group < 4; group++) { to = (u32)__cvta_generic_to_shared(s + 16 * group); COPY("cp.async.cg.shared.global", 16, ""); asm volatile("cp.async.commit_group;" ::: "memory"); }
    asm volatile("cp.async.wait_group 2;" ::: "memory"); good = good && arrived(s, m, 16, 16) && arrived(s + 16, m, 16, 16);
    asm volatile("cp.async.wait_group 1;" ::: "memory"); good = good && arrived(s + 32, m, 16, 16);
    asm volatile("cp.async.wait_group 0;" ::: "memory"); good = good && arrived(s + 48, m, 16, 16);
    ok[threadIdx.x] = good;
}

/* ---- control ---- */

static __global__ void control(int *ok)
{
    u32 n = threadIdx.x, sum, mask, chosen, alike;
    /* The sum of the numbers up to n, by branches. */
    asm volatile("{ .reg .pred p; .reg .u32 i; mov.u32 i, %1; mov.u32 %0, 0; bra.uni again; again: setp.eq.u32 p, i, 0; @p bra done; add.u32 %0, %0, i; sub.u32 i, i, 1; bra again; done: }"
                 : "=r"(sum) : "r"(n));
    asm volatile("{ targets: .branchtargets zero, one, two; brx.idx %1, targets; zero: mov.u32 %0, 5; bra joined; one: mov.u32 %0, 6; bra joined; two: mov.u32 %0, 7; joined: }" : "=r"(chosen) : "r"(n % 3));
    asm volatile("{ where: .branchtargets first, second; brx.idx.uni %1, where; first: mov.u32 %0, 8; bra.uni end; second: mov.u32 %0, 9; end: }" : "=r"(alike) : "r"(blockIdx.x));
    asm volatile("activemask.b32 %0;" : "=r"(mask));
    asm volatile("nanosleep.u32 20;");
    asm volatile("{ .reg .pred p; setp.gt.u32 p, %0, 1000; @p trap; @p brkpt; }" :: "r"(n));
    ok[threadIdx.x] = sum == n * (n + 1) / 2 && chosen == 5 + n % 3 && alike == 8 && (mask >> n % 32 & 1);
    if (n % 4 == 1) asm volatile("ret;");
    if (n % 4 == 2) asm volatile("exit;");
    if (n % 4 == 3) asm volatile("{ .reg .pred p; setp.ne.u32 p, %0, 9999; @p exit; }" :: "r"(n));
    ok[threadIdx.x] = n % 4 == 0 && ok[threadIdx.x];
    asm volatile("ret.uni;");
}

/* ---- the table ---- */

template <class K, class... A> static void check(const char *const *names, K kernel, A... arguments)
{
    if (conform_listing) { for (; *names; names++) conform_name(*names); return; }
    int *ok = device<int>(NULL, THREADS), got[THREADS], wrong = 0;
    kernel<<<1, THREADS, 0, conform_stream>>>(ok, arguments...);
    host(got, ok, THREADS);
    CUDA(cudaFree(ok));
    for (int i = 0; i < THREADS; i++) wrong += got[i] != 1;
    for (; *names; names++) conform_result(*names, THREADS, wrong ? "its kernel in special.cu finds a mistake" : NULL);
}

void check_special()
{
    static const char *const of_moves[] = { "mov.b32", "mov.b64", NULL };
    static const char *const of_addresses[] = { "cvta.global.u64", "cvta.const.u64", "cvta.shared.u64", "cvta.local.u64", "cvta.to.global.u64", "cvta.to.const.u64", "cvta.to.shared.u64",
        "cvta.to.local.u64", "prefetch.L1", "prefetch.L2", "prefetch.global.L1", "prefetch.global.L2", "prefetchu.L1", NULL };
    static const char *const of_barriers[] = { "bar.sync", "bar.cta.sync", "barrier.sync", "barrier.sync.aligned", "barrier.cta.sync", "barrier.cta.sync.aligned", "bar.red.popc.u32",
        "bar.cta.red.popc.u32", "barrier.red.popc.u32", "barrier.red.popc.aligned.u32", "barrier.cta.red.popc.u32", "barrier.cta.red.popc.aligned.u32", "bar.red.and.pred", "bar.cta.red.and.pred",
        "barrier.red.and.pred", "barrier.red.and.aligned.pred", "barrier.cta.red.and.pred", "barrier.cta.red.and.aligned.pred", "bar.red.or.pred", "bar.cta.red.or.pred", "barrier.red.or.pred",
        "barrier.red.or.aligned.pred", "barrier.cta.red.or.pred", "barrier.cta.red.or.aligned.pred", "bar.warp.sync", "membar.cta", "membar.gl", "membar.sys", "fence.sc.cta", "fence.sc.gpu",
        "fence.sc.sys", "fence.acq_rel.cta", "fence.acq_rel.gpu", "fence.acq_rel.sys", "fence.cta", "fence.gpu", "fence.sys", NULL };
    static const char *const of_copies[] = { "cp.async.ca.shared.global", "cp.async.cg.shared.global", "cp.async.ca.shared.global.L2::64B", "cp.async.ca.shared::cta.global.L2::128B",
        "cp.async.ca.shared.global.L2::256B", "cp.async.cg.shared.global.L2::64B", "cp.async.cg.shared.global.L2::128B", "cp.async.cg.shared.global.L2::256B", "cp.async.commit_group",
        "cp.async.wait_group", "cp.async.wait_all", NULL };
    static const char *const of_control[] = { "bra", "bra.uni", "brx.idx", "brx.idx.uni", "ret", "ret.uni", "exit", "activemask.b32", "nanosleep.u32", "trap", "brkpt", NULL };
    static const char *const of_parameters[] = { "ld.param.b8", "st.param.b8", NULL };
    u8 memory[16 * THREADS];
    for (int i = 0; i < 16 * THREADS; i++) memory[i] = (u8)(i * 37 + 1);
    check(of_moves, moves);
    check(of_addresses, addresses);
    check(of_barriers, barriers);
    u8 *d = conform_listing ? NULL : device(memory, sizeof memory);
    check(of_copies, copies, (const u8 *)d);
    if (d) CUDA(cudaFree(d));
    check(of_control, control);
    check(of_parameters, parameters, some_pieces(), total(some_pieces()));
}
