/* shfl, vote, match, redux: full and partial warps. */
#include "operand.h"

enum { ROUNDS = 24 };

/* One kernel an opcode: round r of each lane has x and y, its mask and control. Lanes outside the mask stay out. */
#define WARP(id, body) \
    static __global__ void id(const u32 *x, const u32 *y, const u32 *masks, const u32 *controls, u32 *out, u32 *valid) { \
        int lane = threadIdx.x; \
        for (int r = 0; r < ROUNDS; r++) { \
            [[maybe_unused]] u32 a = x[32 * r + lane], b = y[32 * r + lane], m = masks[r], c = controls[r], d = 0, p = 2; \
            if (m >> lane & 1) body; \
            out[32 * r + lane] = d; valid[32 * r + lane] = p; } }
#define SHUFFLE(mode) \
    WARP(shfl_##mode, asm volatile("{ .reg .pred v; shfl.sync." #mode ".b32 %0|v, %2, %3, %4, %5; selp.u32 %1, 1, 0, v; }" : "=r"(d), "=r"(p) : "r"(a), "r"(b), "r"(c), "r"(m))) \
    WARP(shfl_##mode##_alone, asm volatile("shfl.sync." #mode ".b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "r"(m)))
SHUFFLE(up) SHUFFLE(down) SHUFFLE(bfly) SHUFFLE(idx)
#define VOTE(mode) WARP(vote_##mode, asm volatile("{ .reg .pred v, w; setp.ne.u32 v, %1, 0; vote.sync." #mode ".pred w, v, %2; selp.u32 %0, 1, 0, w; }" : "=r"(d) : "r"(b), "r"(m)))
VOTE(all) VOTE(any) VOTE(uni)
WARP(vote_ballot, asm volatile("{ .reg .pred v; setp.ne.u32 v, %1, 0; vote.sync.ballot.b32 %0, v, %2; }" : "=r"(d) : "r"(b), "r"(m)))
WARP(match_any32, asm volatile("match.any.sync.b32 %0, %1, %2;" : "=r"(d) : "r"(b), "r"(m)))
WARP(match_any64, asm volatile("match.any.sync.b64 %0, %1, %2;" : "=r"(d) : "l"((u64)b << 32), "r"(m)))
WARP(match_all32, asm volatile("{ .reg .pred v; match.all.sync.b32 %0|v, %2, %3; selp.u32 %1, 1, 0, v; }" : "=r"(d), "=r"(p) : "r"(b), "r"(m)))
WARP(match_all64, asm volatile("{ .reg .pred v; match.all.sync.b64 %0|v, %2, %3; selp.u32 %1, 1, 0, v; }" : "=r"(d), "=r"(p) : "l"((u64)b << 32), "r"(m)))
WARP(match_all_alone, asm volatile("match.all.sync.b32 %0, %1, %2;" : "=r"(d) : "r"(b), "r"(m)))
#define REDUX(mode, T) WARP(redux_##mode##_##T, asm volatile("redux.sync." #mode "." #T " %0, %1, %2;" : "=r"(d) : "r"(a), "r"(m)))
REDUX(add, u32) REDUX(add, s32) REDUX(min, u32) REDUX(min, s32) REDUX(max, u32) REDUX(max, s32) REDUX(and, b32) REDUX(or, b32) REDUX(xor, b32)

struct warp { u32 x[32], y[32], mask, control; };
struct answer { u32 d, p; };
/* What lane l of the mask receives. */
typedef answer expected(const warp &w, int l);

/* The pseudocode of the manual. Lanes that would read an inactive one are kept from it by the inputs. */
enum { UP, DOWN, BFLY, IDX };
template <int MODE> static answer shuffled(const warp &w, int l)
{
    int bound = w.control & 31, segment = w.control >> 8 & 31, most = (l & segment) | (bound & ~segment), least = l & segment, b = w.y[l] & 31, j = 0;
    bool p = true;
    switch (MODE) {
    case UP: j = l - b; p = j >= most; break;
    case DOWN: j = l + b; p = j <= most; break;
    case BFLY: j = l ^ b; p = j <= most; break;
    case IDX: j = least | (b & ~segment); p = j <= most; break;
    }
    if (!p) j = l;
    return { w.x[j], p };
}
template <class F> static u32 over(const warp &w, const u32 *v, F f)
{
    u32 all = 0;
    bool first = true;
    for (int k = 0; k < 32; k++) if (w.mask >> k & 1) { all = first ? v[k] : f(all, v[k]); first = false; }
    return all;
}
static u32 ballot(const warp &w) { u32 all = 0; for (int k = 0; k < 32; k++) if ((w.mask >> k & 1) && w.y[k]) all |= 1u << k; return all; }
static answer all(const warp &w, int) { return { ballot(w) == w.mask, 2 }; }
static answer any(const warp &w, int) { return { ballot(w) != 0, 2 }; }
static answer uni(const warp &w, int) { return { ballot(w) == w.mask || ballot(w) == 0, 2 }; }
static answer ballots(const warp &w, int) { return { ballot(w), 2 }; }
static u32 alike(const warp &w, int l) { u32 all = 0; for (int k = 0; k < 32; k++) if ((w.mask >> k & 1) && w.y[k] == w.y[l]) all |= 1u << k; return all; }
static answer match_some(const warp &w, int l) { return { alike(w, l), 2 }; }
static answer match_whole(const warp &w, int l) { bool whole = alike(w, l) == w.mask; return { whole ? w.mask : 0, whole }; }
static answer sum(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return a + b; }), 2 }; }
static answer min_u32(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return a < b ? a : b; }), 2 }; }
static answer max_u32(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return a > b ? a : b; }), 2 }; }
static answer min_s32(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return (s32)a < (s32)b ? a : b; }), 2 }; }
static answer max_s32(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return (s32)a > (s32)b ? a : b; }), 2 }; }
static answer conjunction(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return a & b; }), 2 }; }
static answer disjunction(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return a | b; }), 2 }; }
static answer parity(const warp &w, int) { return { over(w, w.x, [](u32 a, u32 b) { return a ^ b; }), 2 }; }

typedef void kernel(const u32 *x, const u32 *y, const u32 *masks, const u32 *controls, u32 *out, u32 *valid);

/* `shuffle`: distances and segments; else y is 0, 1, or the same in all lanes. */
static warp drawn(int round, bool shuffle)
{
    static const u32 segments[] = { 0, 16, 24, 28 };
    static const u32 masks[] = { ~0u, ~0u, 0x0000ffff, 0xf0f0f0f0, 0x80000001, 1 };
    warp w;
    w.mask = shuffle ? ~0u : masks[round % 6];
    w.control = segments[round % 4] << 8 | (round % 3 == 0 ? 0 : round % 3 == 1 ? 31 : 9);
    u32 same = (u32)conform_random();
    for (int l = 0; l < 32; l++) {
        w.x[l] = (u32)conform_random();
        w.y[l] = shuffle ? (round % 2 ? (u32)conform_random() : same) & (round % 5 ? 31 : ~0u) : round < 4 ? round % 2 : round < 8 ? 7 : (u32)conform_random() & 1;
    }
    return w;
}

static void check(const char *opcode, kernel *k, expected *expect, bool shuffle, bool alone)
{
    if (conform_listing) { conform_name(opcode); return; }
    std::vector<warp> w;
    std::vector<u32> x, y, masks, controls, d(32 * ROUNDS), p(32 * ROUNDS);
    for (int r = 0; r < ROUNDS; r++) {
        w.push_back(drawn(r, shuffle));
        for (int l = 0; l < 32; l++) { x.push_back(w[r].x[l]); y.push_back(w[r].y[l]); }
        masks.push_back(w[r].mask);
        controls.push_back(w[r].control);
    }
    u32 *dx = device(x.data(), x.size()), *dy = device(y.data(), y.size()), *dm = device(masks.data(), ROUNDS), *dc = device(controls.data(), ROUNDS);
    u32 *out = device<u32>(NULL, 32 * ROUNDS), *valid = device<u32>(NULL, 32 * ROUNDS);
    k<<<1, 32, 0, conform_stream>>>(dx, dy, dm, dc, out, valid);
    host(d.data(), out, d.size());
    host(p.data(), valid, p.size());
    for (u32 *q : { dx, dy, dm, dc, out, valid }) CUDA(cudaFree(q));
    const char *failure = NULL;
    for (int r = 0; r < ROUNDS; r++)
        for (int l = 0; l < 32; l++) {
            if (!(w[r].mask >> l & 1)) continue;
            answer want = expect(w[r], l);
            if (d[32 * r + l] != want.d) failure = "a lane receives something else";
            if (!alone && p[32 * r + l] != want.p) failure = "a predicate is wrong";
        }
    conform_result(opcode, 32 * ROUNDS, failure);
}

void check_warp()
{
#define CHECK_SHUFFLE(mode, MODE) \
    check("shfl.sync." #mode ".b32", shfl_##mode, shuffled<MODE>, true, false); check("shfl.sync." #mode ".b32", shfl_##mode##_alone, shuffled<MODE>, true, true);
    CHECK_SHUFFLE(up, UP) CHECK_SHUFFLE(down, DOWN) CHECK_SHUFFLE(bfly, BFLY) CHECK_SHUFFLE(idx, IDX)
    check("vote.sync.all.pred", vote_all, all, false, true);
    check("vote.sync.any.pred", vote_any, any, false, true);
    check("vote.sync.uni.pred", vote_uni, uni, false, true);
    check("vote.sync.ballot.b32", vote_ballot, ballots, false, true);
    check("match.any.sync.b32", match_any32, match_some, false, true);
    check("match.any.sync.b64", match_any64, match_some, false, true);
    check("match.all.sync.b32", match_all32, match_whole, false, false);
    check("match.all.sync.b64", match_all64, match_whole, false, false);
    check("match.all.sync.b32", match_all_alone, match_whole, false, true);
    check("redux.sync.add.u32", redux_add_u32, sum, false, true);
    check("redux.sync.add.s32", redux_add_s32, sum, false, true);
    check("redux.sync.min.u32", redux_min_u32, min_u32, false, true);
    check("redux.sync.max.u32", redux_max_u32, max_u32, false, true);
    check("redux.sync.min.s32", redux_min_s32, min_s32, false, true);
    check("redux.sync.max.s32", redux_max_s32, max_s32, false, true);
    check("redux.sync.and.b32", redux_and_b32, conjunction, false, true);
    check("redux.sync.or.b32", redux_or_b32, disjunction, false, true);
    check("redux.sync.xor.b32", redux_xor_b32, parity, false, true);
}
