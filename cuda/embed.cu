/* y[t] = table[ids[t]]. Memory bounds forward: a row read and a row written for each token, by a warp. Backward
   sorts the tokens by id, ties in their order. A warp sums the runs of one id among WARP sorted tokens and adds
   each to its row of the table; what a run has in further pieces is kept aside, and added by a second pass. So dy
   is read once, and of the table what has tokens is touched, after all of it is cleared; up to some 10 000 tokens
   the sort's latency bounds it. */
#include "warp.cuh"
#include "sort.cuh"

enum { STRIP = WARP * LANES };                              /* columns that a warp takes */

/* ---- forward ---- */

static __global__ void __launch_bounds__(BLOCK) embed_forward(struct view table, struct view y, const int32_t *ids,
                                                              int64_t tokens, int rows, int d, struct fault *fault)
{
    EACH_ROW(t, tokens) {
        int64_t id = legal(fault, FAULT_ID, ids[t], rows) ? ids[t] : 0;
        EACH_EIGHT(c, d) row_store(y, t * d, c, d, row_load(table, id * d, c, d, 0));
    }
}

static void forward(const struct args *a)
{
    int64_t tokens = shape_count(a->in[1].shape);
    LAUNCH(a, embed_forward, grid_for(a, tokens, WARPS), BLOCK, 0, view_of(a->in[0]), view_of(a->out[0]),
           ints(&a->in[1]), tokens, (int)a->in[0].shape.dim[0], (int)a->in[0].shape.dim[1], device_of(a)->fault);
}

/* ---- backward ---- */

/* Sorted tokens in pieces of WARP, columns in strips of STRIP: a warp takes one of each. heads [pieces, strips,
   STRIP]: what a piece has of the run that the piece before ends with. Forward has told of ids without a row:
   here they are left out. */
struct pieces { const int32_t *order, *ids; int tokens, n, strips, d, rows; float *heads; };

static __device__ inline int id_at(const struct pieces &p, int rank) { return p.ids[p.order[rank]]; }
static __device__ inline int64_t head_at(const struct pieces &p, int piece, int strip)
{
    return ((int64_t)piece * p.strips + strip) * STRIP + lane_of() * LANES;
}

static __device__ inline void add_to(struct eight &sum, const struct eight &e)
{
    for (int l = 0; l < LANES; l++) sum.v[l] += e.v[l];
}

static __global__ void __launch_bounds__(BLOCK) embed_runs(struct pieces p, struct view dy, struct sum dtable)
{
    int warp = (int)first_warp(), piece = warp / p.strips, strip = warp % p.strips,
        c = strip * STRIP + lane_of() * LANES, first = piece * WARP;
    if (piece >= p.n) return;
    int n = p.tokens - first < WARP ? p.tokens - first : WARP;
    int token = p.order[lane_of() < n ? first + lane_of() : first], id = lane_of() < n ? p.ids[token] : -1;
    int next_id = __shfl_down_sync(ALL_LANES, id, 1);
    unsigned ends = __ballot_sync(ALL_LANES, lane_of() == n - 1 || next_id != id);
    bool head = piece > 0 && id_at(p, first - 1) == id_at(p, first);
    struct eight sum = { 0 }, next = { 0 };
    for (int i = -1; i < n; i++) {                          /* a row is on its way while the one before is added */
        struct eight now = next;
        int row = __shfl_sync(ALL_LANES, id, i & (WARP - 1)),
            ahead = __shfl_sync(ALL_LANES, token, (i + 1) & (WARP - 1));
        if (c < p.d && i + 1 < n) next = row_load(dy, (int64_t)ahead * p.d, c, p.d, 0);
        if (i < 0 || c >= p.d) continue;
        add_to(sum, now);
        if (!(ends >> i & 1)) continue;
        if (head) store8({ p.heads, false }, head_at(p, piece, strip), sum);
        else if ((unsigned)row < (unsigned)p.rows) row_add(dtable, (int64_t)row * p.d, c, p.d, sum);
        head = false;
        sum = { 0 };
    }
}

/* The first piece after the one in which a run began adds what all later pieces have of it. */
static __global__ void __launch_bounds__(BLOCK) embed_heads(struct pieces p, struct sum dtable)
{
    int warp = (int)first_warp(), piece = warp / p.strips + 1, strip = warp % p.strips,
        c = strip * STRIP + lane_of() * LANES;
    if (piece >= p.n) return;
    int id = id_at(p, piece * WARP), before = (piece - 1) * WARP - 1;
    if (id_at(p, piece * WARP - 1) != id || (before >= 0 && id_at(p, before) == id)) return;
    struct eight sum = { 0 };
    for (int more = WARP; more == WARP; piece += more) {
        int at = piece + lane_of();
        unsigned same = __ballot_sync(ALL_LANES, at < p.n && id_at(p, at < p.n ? at * WARP : 0) == id);
        more = same == ALL_LANES ? WARP : __ffs(~same) - 1;
        for (int i = 0; i < more && c < p.d; i++) add_to(sum, load8({ p.heads, false }, head_at(p, piece + i, strip)));
    }
    if (c < p.d && (unsigned)id < (unsigned)p.rows) row_add(dtable, (int64_t)id * p.d, c, p.d, sum);
}

static struct pieces pieces_of(const struct args *a)
{
    int tokens = (int)shape_count(a->in[1].shape), rows = (int)a->in[0].shape.dim[0], d = (int)a->in[0].shape.dim[1];
    return { NULL, ints(&a->in[1]), tokens, (tokens + WARP - 1) / WARP, (d + STRIP - 1) / STRIP, d, rows,
             (float *)a->scratch };
}

static size_t heads_bytes(struct pieces p) { return (size_t)p.n * p.strips * STRIP * sizeof(float); }

static size_t scratch(const struct args *a)
{
    struct pieces p = pieces_of(a);
    return heads_bytes(p) + sort_scratch_bytes(p.tokens, a->in[0].shape.dim[0]);
}

static void backward(const struct args *a)
{
    struct pieces p = pieces_of(a);
    struct sum dtable = sum_of(a, 0), more = { dtable.to, 1 };
    if (!a->din[0].data) return;
    int32_t *order = ints(&a->work[0]);
    p.order = sort_positions(a, p.ids, p.tokens, a->in[0].shape.dim[0], order, order + p.tokens,
                             (char *)a->scratch + heads_bytes(p));
    if (dtable.beta == 0)
        CUDA(cudaMemsetAsync(a->din[0].data, 0, shape_count(a->din[0].shape) * element_bytes(a->din[0].format),
                             device_of(a)->stream));
    LAUNCH(a, embed_runs, (p.n * p.strips + WARPS - 1) / WARPS, BLOCK, 0, p, view_of(a->dout[0]), dtable);
    if (p.n > 1) LAUNCH(a, embed_heads, ((p.n - 1) * p.strips + WARPS - 1) / WARPS, BLOCK, 0, p, more);
}

TWIN(embed, forward, backward, NULL, scratch);
