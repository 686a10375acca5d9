// Instructions that a warp computes together: the last lane to arrive computes for all (ph_warp). `o` holds each lane's operands.
#pragma once

// ---- exchange and votes ----

struct shuffle { u32 value, lane, control; bool valid; };

// `from(lane, distance, first, last)` is the source lane; the segment of a lane is [first, last].
template <class F> static void shuffled(void *const o[32], u32 mask, F from)
{
    u32 result[32];
    for (int l = 0; l < 32; l++) {
        if (!o[l]) continue;
        shuffle *s = (shuffle *)o[l];
        int bound = s->control & 31, segment = s->control >> 8 & 31, first = l & segment;
        int source = from(l, s->lane & 31, first, segment, bound, s->valid);
        if (!s->valid) source = l;
        if (!(mask >> source & 1)) { ph_report("shfl.sync: lane %d reads lane %d, which is not in its mask %08x", l, source, mask); source = l; }
        result[l] = ((shuffle *)o[source])->value;
    }
    for (int l = 0; l < 32; l++) if (o[l]) ((shuffle *)o[l])->value = result[l];
}
static inline void shuffle_up(void *const o[32], u32 mask)
{
    shuffled(o, mask, [](int l, int n, int first, int segment, int bound, bool &valid) { int j = l - n; valid = j >= (first | (bound & ~segment)); return j; });
}
static inline void shuffle_down(void *const o[32], u32 mask)
{
    shuffled(o, mask, [](int l, int n, int first, int segment, int bound, bool &valid) { int j = l + n; valid = j <= (first | (bound & ~segment)); return j; });
}
static inline void shuffle_bfly(void *const o[32], u32 mask)
{
    shuffled(o, mask, [](int l, int n, int first, int segment, int bound, bool &valid) { int j = l ^ n; valid = j <= (first | (bound & ~segment)); return j; });
}
static inline void shuffle_idx(void *const o[32], u32 mask)
{
    shuffled(o, mask, [](int, int n, int first, int segment, int bound, bool &valid) { int j = first | (n & ~segment); valid = j <= (first | (bound & ~segment)); return j; });
}

static inline u32 ballot_of(void *const o[32])
{
    u32 ballot = 0;
    for (int l = 0; l < 32; l++) if (o[l] && *(u32 *)o[l]) ballot |= 1u << l;
    return ballot;
}
static inline void tell_all(void *const o[32], u32 x) { for (int l = 0; l < 32; l++) if (o[l]) *(u32 *)o[l] = x; }
static inline void vote_ballot(void *const o[32], u32) { tell_all(o, ballot_of(o)); }
static inline void vote_all(void *const o[32], u32 mask) { tell_all(o, ballot_of(o) == mask); }
static inline void vote_any(void *const o[32], u32) { tell_all(o, ballot_of(o) != 0); }
static inline void vote_uni(void *const o[32], u32 mask) { u32 b = ballot_of(o); tell_all(o, b == 0 || b == mask); }

struct match { u64 value; u32 lanes; };
static inline void match_any(void *const o[32], u32)
{
    for (int l = 0; l < 32; l++) {
        if (!o[l]) continue;
        match *m = (match *)o[l];
        m->lanes = 0;
        for (int k = 0; k < 32; k++) if (o[k] && ((match *)o[k])->value == m->value) m->lanes |= 1u << k;
    }
}
static inline void match_all(void *const o[32], u32 mask)
{
    match_any(o, mask);
    for (int l = 0; l < 32; l++) if (o[l] && ((match *)o[l])->lanes != mask) ((match *)o[l])->lanes = 0;
}

template <class T, class F> static void reduced(void *const o[32], F combine)
{
    T all = 0;
    bool first = true;
    for (int l = 0; l < 32; l++) if (o[l]) { T x = *(T *)o[l]; all = first ? x : combine(all, x); first = false; }
    for (int l = 0; l < 32; l++) if (o[l]) *(T *)o[l] = all;
}
template <class T> static void redux_add(void *const o[32], u32) { reduced<T>(o, [](T a, T b) { return (T)((u32)a + (u32)b); }); }
template <class T> static void redux_min(void *const o[32], u32) { reduced<T>(o, [](T a, T b) { return a < b ? a : b; }); }
template <class T> static void redux_max(void *const o[32], u32) { reduced<T>(o, [](T a, T b) { return a > b ? a : b; }); }
template <class T> static void redux_and(void *const o[32], u32) { reduced<T>(o, [](T a, T b) { return a & b; }); }
template <class T> static void redux_or(void *const o[32], u32) { reduced<T>(o, [](T a, T b) { return a | b; }); }
template <class T> static void redux_xor(void *const o[32], u32) { reduced<T>(o, [](T a, T b) { return a ^ b; }); }

// ---- matrices ----

// ldmatrix: lanes 8m..8m+7 give the rows of matrix m, 8 values of 16 bits each. Lane l receives of each matrix the values
// (l/4, 2(l%4)) and the next of the row; transposed: of the column.
struct matrices { const char *address; u32 row[4]; };

INLINE const char *shared_rows(u32 offset, u32 count, const ph_site *site)
{
    return ph_now->lane < 8 * count ? shared(offset, 16, PH_READ, site) : nullptr;
}
template <int COUNT, bool TRANSPOSED> static void load_matrices(void *const o[32], u32)
{
    for (int m = 0; m < COUNT; m++)
        for (int l = 0; l < 32; l++) {
            u16 v[2];
            for (int i = 0; i < 2; i++) {
                int row = TRANSPOSED ? 2 * (l % 4) + i : l / 4, column = TRANSPOSED ? l / 4 : 2 * (l % 4) + i;
                v[i] = get<u16>(((matrices *)o[8 * m + row])->address, column);
            }
            ((matrices *)o[l])->row[m] = joined(v[0], v[1]);
        }
}

// mma.sync: D [16,8] = A [16,K] B [K,8] + C, summed in f32. With g = lane/4, t = lane%4: register i of A holds row g + 8(i%2),
// columns 2t + 8(i/2) and the next; of B column g, rows 2t + 8i and the next; of C and D row g + 8(i/2), column 2t + i%2.
// tf32: A holds column t + 4(i/2), B row t + 4i.
struct product { u32 a[4], b[2]; f32 d[4]; };
struct product8 { u32 a[2], b[1]; f32 d[4]; };
typedef f32 f32x8 __attribute__((vector_size(32), aligned(4)));

template <int K> static void multiply(f32 a[16][K], f32 b[K][8], f32 d[16][8])
{
    for (int r = 0; r < 16; r++) {
        f32x8 sum = {}, c = *(f32x8 *)d[r];
        // Products of the operands are exact in f32. Hardware sums in an order that nobody promises.
        for (int k = 0; k < K; k++) { int j = jitter ? K - 1 - k : k; sum += a[r][j] * *(f32x8 *)b[j]; }
        *(f32x8 *)d[r] = c + sum;
    }
}
template <int K, class P, class A, class B> static void multiplied(void *const o[32], A place_a, B place_b)
{
    f32 a[16][K], b[K][8], d[16][8];
    for (int l = 0; l < 32; l++) {
        P *p = (P *)o[l];
        int g = l / 4, t = l % 4;
        place_a(a, p->a, g, t);
        place_b(b, p->b, g, t);
        for (int i = 0; i < 4; i++) d[g + i / 2 * 8][2 * t + i % 2] = p->d[i];
    }
    multiply<K>(a, b, d);
    for (int l = 0; l < 32; l++) for (int i = 0; i < 4; i++) ((P *)o[l])->d[i] = num(d[l / 4 + i / 2 * 8][2 * (l % 4) + i % 2]);
}
template <int K, class F, class P> static void multiply_halves(void *const o[32])
{
    multiplied<K, P>(o, [](f32 a[16][K], const u32 *v, int g, int t) {
        for (int i = 0; i < K / 4; i++)
            for (int j = 0; j < 2; j++) a[g + i % 2 * 8][2 * t + i / 2 * 8 + j] = widen<F>((u16)(v[i] >> 16 * j));
    }, [](f32 b[K][8], const u32 *v, int g, int t) {
        for (int i = 0; i < K / 8; i++) for (int j = 0; j < 2; j++) b[2 * t + 8 * i + j][g] = widen<F>((u16)(v[i] >> 16 * j));
    });
}
template <int K, class P> static void multiply_tf32(void *const o[32], u32)
{
    // The low 13 bits of an operand are not looked at.
    multiplied<K, P>(o, [](f32 a[16][K], const u32 *v, int g, int t) {
        for (int i = 0; i < K / 2; i++) a[g + i % 2 * 8][t + i / 2 * 4] = f32_of(v[i] & ~0x1fffu);
    }, [](f32 b[K][8], const u32 *v, int g, int t) {
        for (int i = 0; i < K / 4; i++) b[t + 4 * i][g] = f32_of(v[i] & ~0x1fffu);
    });
}
template <class F> static void multiply_16(void *const o[32], u32) { multiply_halves<16, F, product>(o); }
template <class F> static void multiply_8(void *const o[32], u32) { multiply_halves<8, F, product8>(o); }
