/* ldmatrix and mma.sync: which value lies in which register of which lane, against plain loops over asymmetrical data. */
#include "operand.h"
#include "reference.h"

/* ---- ldmatrix ---- */

/* Rows of 8 values, 16 bytes apart and 48 in all but the last, so that row addresses count. */
enum { ROW = 24 };
#define LOAD(id, opcode, count, outputs, text) \
    static __global__ void id(const u16 *m, u32 *out) { \
        __shared__ __align__(16) u16 s[32 * ROW]; \
        for (int i = threadIdx.x; i < 32 * ROW; i += 32) s[i] = m[i]; \
        __syncthreads(); \
        u32 r[4] = {}, address = (u32)__cvta_generic_to_shared(s + (threadIdx.x * 5 % 32) * ROW); \
        asm volatile(opcode text : outputs : "r"(address) : "memory"); \
        for (int i = 0; i < count; i++) out[4 * threadIdx.x + i] = r[i]; }
#define OUT1 "=r"(r[0])
#define OUT2 "=r"(r[0]), "=r"(r[1])
#define OUT4 "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
#define EXPAND(...) __VA_ARGS__
#define LOADS(id, suffix) \
    LOAD(x1##id, "ldmatrix.sync.aligned.m8n8.x1" suffix, 1, EXPAND(OUT1), " {%0}, [%1];") LOAD(x2##id, "ldmatrix.sync.aligned.m8n8.x2" suffix, 2, EXPAND(OUT2), " {%0, %1}, [%2];") \
    LOAD(x4##id, "ldmatrix.sync.aligned.m8n8.x4" suffix, 4, EXPAND(OUT4), " {%0, %1, %2, %3}, [%4];")
LOADS(, ".shared.b16") LOADS(_trans, ".trans.shared.b16")
LOAD(x1_window, "ldmatrix.sync.aligned.m8n8.x1.shared::cta.b16", 1, EXPAND(OUT1), " {%0}, [%1];")

static void check_load(const char *opcode, int count, bool transposed, void (*kernel)(const u16 *m, u32 *out))
{
    if (conform_listing) { conform_name(opcode); return; }
    std::vector<u16> m(32 * ROW);
    for (size_t i = 0; i < m.size(); i++) m[i] = (u16)(i * 40503 + 7);
    u16 *d = device(m.data(), m.size());
    u32 *out = device<u32>(NULL, 128), got[128];
    kernel<<<1, 32, 0, conform_stream>>>(d, out);
    host(got, out, 128);
    CUDA(cudaFree(d));
    CUDA(cudaFree(out));
    const char *failure = NULL;
    for (int k = 0; k < count; k++)
        for (int l = 0; l < 32; l++)
            for (int i = 0; i < 2; i++) {
                int row = transposed ? l % 4 * 2 + i : l / 4, column = transposed ? l / 4 : l % 4 * 2 + i;
                if ((u16)(got[4 * l + k] >> 16 * i) != m[(size_t)((8 * k + row) * 5 % 32) * ROW + column]) failure = "a value lies elsewhere";
            }
    conform_result(opcode, 64 * count, failure);
}

/* ---- mma ---- */

/* Operands as lanes hold them: a[4], b[2] registers and c[4]. */
#define MMA(id, opcode, as, bs) \
    static __global__ void id(const u32 *a, const u32 *b, const f32 *c, f32 *d) { \
        int l = threadIdx.x; const u32 *A = a + 4 * l, *B = b + 2 * l; const f32 *C = c + 4 * l; f32 *D = d + 4 * l; (void)A; (void)B; \
        asm volatile(opcode " {%0, %1, %2, %3}, {" as "}, {" bs "}, {%10, %11, %12, %13};" : "=f"(D[0]), "=f"(D[1]), "=f"(D[2]), "=f"(D[3]) \
                     : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "r"(B[0]), "r"(B[1]), "f"(C[0]), "f"(C[1]), "f"(C[2]), "f"(C[3])); }
#define FULL "%4, %5, %6, %7", "%8, %9"
#define HALF "%4, %5", "%8"
#define MMA_(id, opcode, ...) MMA(id, opcode, __VA_ARGS__)
MMA_(bf16_16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", FULL)
MMA_(f16_16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", FULL)
MMA_(bf16_8, "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", HALF)
MMA_(f16_8, "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", HALF)
MMA_(tf32_8, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", FULL)
MMA_(tf32_4, "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", HALF)

enum format { BF, HF, TF };
static u32 code(enum format f, f32 x) { return f == BF ? reference_bf16(x) : f == HF ? reference_f16(x) : (u32)to_bits(x); }
static f32 value(enum format f, f32 x) { return f == BF ? narrow_value(&format_bf16, reference_bf16(x)) : f == HF ? narrow_value(&format_f16, reference_f16(x)) : x; }

/* Small integers, whose sums are exact in any order; or reals, within the error of sixteen roundings. */
static f32 drawn(bool exact) { s64 r = (s64)conform_random(); return exact ? (f32)(r % 8) : (f32)((f64)r * 0x1p-62); }

static void check_product(const char *opcode, int K, enum format f, void (*kernel)(const u32 *a, const u32 *b, const f32 *c, f32 *d))
{
    if (conform_listing) { conform_name(opcode); return; }
    const char *failure = NULL;
    for (int round = 0; round < 4; round++) {
        bool exact = round < 2;
        f32 a[16][16], b[16][8], c[16][8];
        for (auto &row : a) for (f32 &x : row) x = value(f, drawn(exact));
        for (auto &row : b) for (f32 &x : row) x = value(f, drawn(exact));
        for (auto &row : c) for (f32 &x : row) x = drawn(exact);
        if (f == TF) for (auto &row : a) for (f32 &x : row) x = from_bits<f32>(to_bits(x) & ~0x1fffull);
        if (f == TF) for (auto &row : b) for (f32 &x : row) x = from_bits<f32>(to_bits(x) & ~0x1fffull);
        u32 ra[128] = {}, rb[64] = {};
        f32 rc[128], got[128];
        int per = f == TF ? 1 : 2, column = f == TF ? 1 : 2;        /* values in a register; columns between neighbour lanes */
        u32 junk = f == TF ? 0x1abc : 0;                            /* the low 13 bits of tf32 are not looked at */
        for (int l = 0; l < 32; l++) {
            int g = l >> 2, t = l & 3;
            for (int i = 0; i < K * per / (f == TF ? 2 : 8); i++)
                for (int j = 0; j < per; j++) ra[4 * l + i] |= (code(f, a[g + 8 * (i & 1)][t * column + 4 * per * (i >> 1) + j]) | junk) << 16 * j;
            for (int i = 0; i < K * per / (f == TF ? 4 : 16); i++)
                for (int j = 0; j < per; j++) rb[2 * l + i] |= (code(f, b[t * column + 4 * per * i + j][g]) | junk) << 16 * j;
            for (int i = 0; i < 4; i++) rc[4 * l + i] = c[g + 8 * (i >> 1)][2 * t + (i & 1)];
        }
        u32 *da = device(ra, 128), *db = device(rb, 64);
        f32 *dc = device(rc, 128), *dd = device<f32>(NULL, 128);
        kernel<<<1, 32, 0, conform_stream>>>(da, db, dc, dd);
        host(got, dd, 128);
        for (void *p : { (void *)da, (void *)db, (void *)dc, (void *)dd }) CUDA(cudaFree(p));
        for (int row = 0; row < 16; row++)
            for (int col = 0; col < 8; col++) {
                f64 want = c[row][col], size = fabs(want);
                for (int k = 0; k < K; k++) { want += (f64)a[row][k] * b[k][col]; size += fabs((f64)a[row][k] * b[k][col]); }
                int l = row % 8 * 4 + col / 2, i = row / 8 * 2 + col % 2;
                if (fabs(got[4 * l + i] - want) > (exact ? 0 : size * 0x1p-19)) failure = exact ? "an exact sum is wrong" : "a sum is too far off";
            }
    }
    conform_result(opcode, 4 * 128, failure);
}

void check_matrix()
{
    check_load("ldmatrix.sync.aligned.m8n8.x1.shared.b16", 1, false, x1);
    check_load("ldmatrix.sync.aligned.m8n8.x2.shared.b16", 2, false, x2);
    check_load("ldmatrix.sync.aligned.m8n8.x4.shared.b16", 4, false, x4);
    check_load("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16", 1, true, x1_trans);
    check_load("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", 2, true, x2_trans);
    check_load("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", 4, true, x4_trans);
    check_load("ldmatrix.sync.aligned.m8n8.x1.shared::cta.b16", 1, false, x1_window);
    check_product("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 16, BF, bf16_16);
    check_product("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 16, HF, f16_16);
    check_product("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 8, BF, bf16_8);
    check_product("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 8, HF, f16_8);
    check_product("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, TF, tf32_8);
    check_product("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 4, TF, tf32_4);
}
