/* Backward of op delta_rule, chunk by chunk from the last: a chunk is made anew from the state that entered it. A block
   takes a key head of a sequence with the value heads that share it, so that every sum has one order; what it works on
   lies in scratch, most of it in the second-level cache. Bound by fused multiply-adds of its products, in tiles of
   64 x 64 as attention in float has them; fewer key heads than multiprocessors leave some idle. */
#include "delta_rule.cuh"

enum { THREADS = 256, TILE = 64, DEPTH = 16, PITCH = TILE + 4, OWN = 4, MOST_BLOCKS = 256, HELD = WIDEST / WARP };
enum { QUERIES, KEYS };

/* A matrix of which row or column is 1 apart. */
struct strided { const float *at; int row, col; };
static __device__ inline struct strided rows_at(const float *at, int width) { return { at, width, 1 }; }
static __device__ inline struct strided transposed(const float *at, int width) { return { at, 1, width }; }

struct product { struct strided a, b; float *c; int m, n, k; bool adds; };

/* [DEPTH, TILE] of a matrix from (row, depth) on; neighbouring threads read neighbouring values. */
static __device__ inline void load_tile(float (&to)[DEPTH][PITCH], const float *from, int by_row, int by_depth,
                                        int rows, int depths)
{
    for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        int depth = by_depth == 1 ? i % DEPTH : i / TILE, row = by_depth == 1 ? i / DEPTH : i % TILE;
        to[depth][row] = row < rows && depth < depths ? from[row * by_row + depth * by_depth] : 0;
    }
}

/* c = a b, or c + a b. */
static __device__ inline void multiply(const struct product &p)
{
    __shared__ __align__(16) float left[DEPTH][PITCH], right[DEPTH][PITCH];
    int row = threadIdx.x / (TILE / OWN) * OWN, column = threadIdx.x % (TILE / OWN) * OWN;
    #pragma unroll 1
    for (int tile = 0; tile < (p.m + TILE - 1) / TILE * ((p.n + TILE - 1) / TILE); tile++) {
        int across = (p.n + TILE - 1) / TILE, i = tile / across * TILE, j = tile % across * TILE;
        float sum[OWN][OWN] = {};
        #pragma unroll 1
        for (int k = 0; k < p.k; k += DEPTH) {
            __syncthreads();
            load_tile(left, p.a.at + i * p.a.row + k * p.a.col, p.a.row, p.a.col, p.m - i, p.k - k);
            load_tile(right, p.b.at + j * p.b.col + k * p.b.row, p.b.col, p.b.row, p.n - j, p.k - k);
            __syncthreads();
            #pragma unroll 4
            for (int d = 0; d < DEPTH; d++) {
                float4 x = *(const float4 *)&left[d][row], y = *(const float4 *)&right[d][column];
                float u[OWN] = { x.x, x.y, x.z, x.w }, w[OWN] = { y.x, y.y, y.z, y.w };
                for (int r = 0; r < OWN; r++) for (int c = 0; c < OWN; c++) sum[r][c] = fmaf(u[r], w[c], sum[r][c]);
            }
        }
        for (int r = 0; r < OWN; r++)
            for (int c = 0; c < OWN; c++) {
                if (i + row + r >= p.m || j + column + c >= p.n) continue;
                float *to = p.c + (i + row + r) * p.n + j + column + c;
                *to = p.adds ? *to + sum[r][c] : sum[r][c];
            }
    }
}

/* What a block works on; see struct chunk of cpu/isa/delta_chunk.h. Readers are `chunk` rows apart. */
struct chunk {
    float *x, *old, *dx, *dold, *k, *e, *late, *dk, *dlate, *dq_sum, *dk_sum;
    float *r, *u, *o, *dr, *du, *pairs, *dpairs, *beta, *left, *db, *ds;
};

static __host__ __device__ inline size_t chunk_in(const struct delta &s, float *memory, struct chunk *c)
{
    size_t keys = (size_t)s.chunk * s.n, values = (size_t)s.chunk * s.m, squares = (size_t)s.chunk * s.chunk,
           readers = s.delta ? 2 : 1, at = 0;
    auto take = [&](size_t size) { float *part = memory + at; at += (size + 3) / 4 * 4; return part; };
    c->x = take(readers * keys), c->old = take(readers * keys), c->dx = take(readers * keys);
    c->dold = take(readers * keys), c->k = take(keys), c->e = take(keys), c->late = take(keys), c->dk = take(keys);
    c->dlate = take(keys), c->dq_sum = take(keys), c->dk_sum = take(keys);
    c->r = take(values), c->u = take(values), c->o = take(values), c->dr = take(values), c->du = take(values);
    c->pairs = take(readers * squares), c->dpairs = take(readers * squares), c->beta = take(s.chunk);
    c->left = take(s.n), c->db = take(s.n), c->ds = take((size_t)s.share * s.n * s.m);
    return at;
}

#define EACH(i, count) for (int i = threadIdx.x; i < (count); i += THREADS)
#define EACH_WARP(i, count) for (int i = threadIdx.x / WARP; i < (count); i += THREADS / WARP)

/* ---- readers ---- */

/* A warp for each row of each reader's pairs. */
static __device__ inline void look_back(const struct delta &s, const struct chunk &c, int n, int readers)
{
    EACH_WARP(row, readers * n) {
        int reader = row / n, t = row % n;
        float y[HELD], *pairs = c.pairs + reader * s.chunk * s.chunk + t * n;
        int at = (reader * s.chunk + t) * s.n;
        #pragma unroll 1
        for (int i = t + lane_of(); i < n; i += WARP) if (i > t || reader == KEYS) pairs[i] = 0;
        #pragma unroll
        for (int i = 0; i < HELD; i++) y[i] = i * WARP + lane_of() < s.n ? c.x[at + i * WARP + lane_of()] : 0;
        #pragma unroll 1
        for (int before = t; before >= 0; before--) {
            float sum = 0;
            #pragma unroll
            for (int i = 0; i < HELD; i++) {
                int d = i * WARP + lane_of();
                if (d >= s.n) continue;
                sum += y[i] * c.k[before * s.n + d];
                y[i] *= c.e[before * s.n + d];
            }
            sum = warp_sum(sum);
            if (lane_of() == 0 && (before < t || reader == QUERIES)) pairs[before] = sum;
        }
        #pragma unroll
        for (int i = 0; i < HELD; i++) if (i * WARP + lane_of() < s.n) c.old[at + i * WARP + lane_of()] = y[i];
    }
}

static __device__ inline void look_ahead(const struct delta &s, const struct chunk &c, int n)
{
    EACH(d, s.n) {
        float left = 1;
        #pragma unroll 1
        for (int t = n - 1; t >= 0; t--) {
            c.late[t * s.n + d] = c.k[t * s.n + d] * left;
            left *= c.e[t * s.n + d];
        }
        c.left[d] = left;
    }
}

/* dx, from the oldest token on; dk, from the latest. */
static __device__ inline void reader_gradients(const struct delta &s, const struct chunk &c, int n, int readers)
{
    EACH(i, readers * n * s.n) {
        int reader = i / (n * s.n), t = i / s.n % n, d = i % s.n;
        const float *dpairs = c.dpairs + reader * s.chunk * s.chunk + t * n;
        int at = (reader * s.chunk + t) * s.n + d;
        float dx = c.dold[at];
        #pragma unroll 1
        for (int before = 0; before <= t; before++) {
            float by = before < t || reader == QUERIES ? dpairs[before] : 0;
            dx = dx * c.e[before * s.n + d] + by * c.k[before * s.n + d];
        }
        c.dx[at] = dx;
    }
    EACH(i, n * s.n) {
        int from = i / s.n, d = i % s.n;
        float dk = c.dlate[i];
        #pragma unroll 1
        for (int t = n - 1; t >= from; t--) {
            for (int reader = 0; reader < (t > from ? readers : 1); reader++)
                dk += c.dpairs[reader * s.chunk * s.chunk + t * n + from] *
                      c.x[(reader * s.chunk + t) * s.n + d];
            if (t > from) dk *= c.e[t * s.n + d];
        }
        c.dk[i] = dk;
    }
}

/* ---- columns of values, which no token mixes ---- */

static __device__ inline void predict(const struct delta &s, const struct chunk &c, int n)
{
    const float *pairs = c.pairs + s.chunk * s.chunk;
    EACH(m, s.m)
        #pragma unroll 1
        for (int t = 0; t < n; t++) {
            float r = c.r[t * s.m + m];
            #pragma unroll 1
            for (int i = 0; s.delta && i < t; i++) r += pairs[t * n + i] * c.u[i * s.m + m];
            c.r[t * s.m + m] = r;
            c.u[t * s.m + m] = c.beta[t] * r;
        }
}

static __device__ inline void predict_back(const struct delta &s, const struct chunk &c, int n)
{
    const float *pairs = c.pairs + s.chunk * s.chunk;
    EACH(m, s.m)
        #pragma unroll 1
        for (int t = n - 1; t >= 0; t--) {
            float dr = c.dr[t * s.m + m];
            #pragma unroll 1
            for (int i = n - 1; s.delta && i > t; i--) dr += pairs[i * n + t] * c.du[i * s.m + m];
            c.dr[t * s.m + m] = dr;
            c.du[t * s.m + m] = c.beta[t] * dr;
        }
}

/* ---- a value head's chunk ---- */

struct inputs { struct view q, k, v, dout; const float *g, *beta, *entering; };
struct gradients { struct sum q, k, v, g, beta; };

static __device__ inline void read_head(const struct delta &s, const struct inputs &in, const struct chunk &c, int b,
                                        int head, int first, int n)
{
    int64_t row = ((int64_t)b * s.seq + first) * s.value_heads() + head;
    EACH(i, n * s.n) {
        int t = i / s.n;
        int64_t gate = (row + (int64_t)t * s.value_heads()) * s.gates + (s.gates == 1 ? 0 : i % s.n);
        c.e[i] = s.relative_start(b, first + t) < 0 ? __expf(in.g[gate]) : 0;
    }
    EACH(t, n) c.beta[t] = s.relative_start(b, first + t) <= 0 ? in.beta[row + (int64_t)t * s.value_heads()] : 0;
    EACH(i, n * s.m) {
        int64_t at = (row + (int64_t)(i / s.m) * s.value_heads()) * s.m + i % s.m;
        c.r[i] = load(in.v, at);
        c.o[i] = load(in.dout, at);
    }
}

/* Gradients of the state that leaves become those of the state that enters. */
static __device__ inline void head_products(const struct delta &s, const struct chunk &c, const float *state, float *ds,
                                            int n, int readers)
{
    int keys = s.chunk * s.n;
    float *dpairs = c.dpairs + s.chunk * s.chunk;
    #pragma unroll 1
    for (int i = 0; i < 5; i++) {
        struct product p =
            i == 0   ? product{ transposed(c.pairs, n), rows_at(c.o, s.m), c.dr, n, s.m, n, false }
            : i == 1 ? product{ rows_at(c.late, s.n), rows_at(ds, s.m), c.dr, n, s.m, s.n, true }
            : i == 2 ? product{ rows_at(c.o, s.m), transposed(c.u, s.m), c.dpairs, n, n, s.m, false }
            : i == 3 ? product{ rows_at(c.o, s.m), transposed(state, s.m), c.dold, n, s.n, s.m, false }
                     : product{ rows_at(c.u, s.m), transposed(ds, s.m), c.dlate, n, s.n, s.m, false };
        multiply(p);
    }
    __syncthreads();
    predict_back(s, c, n);
    EACH_WARP(d, s.n) {
        float sum = 0;
        for (int m = lane_of(); m < s.m; m += WARP) {
            sum += c.left[d] * ds[d * s.m + m] * state[d * s.m + m];
            ds[d * s.m + m] *= c.left[d];
        }
        for (int t = lane_of(); t < n; t += WARP) sum += c.late[t * s.n + d] * c.dlate[t * s.n + d];
        sum = warp_sum(sum);
        if (lane_of() == 0) c.db[d] = sum;
    }
    __syncthreads();
    #pragma unroll 1
    for (int i = 0; i < (readers > KEYS ? 4 : 1); i++) {
        struct product p =
            i == 0   ? product{ transposed(c.old, s.n), rows_at(c.o, s.m), ds, s.n, s.m, n, true }
            : i == 1 ? product{ rows_at(c.du, s.m), transposed(c.u, s.m), dpairs, n, n, s.m, false }
            : i == 2 ? product{ rows_at(c.du, s.m), transposed(state, s.m), c.dold + keys, n, s.n, s.m, false }
                     : product{ transposed(c.old + keys, s.n), rows_at(c.du, s.m), ds, s.n, s.m, n, true };
        multiply(p);
    }
    __syncthreads();
}

/* db of each token and channel replaces dlate; then a warp sums and writes for each token. */
static __device__ inline void write_head(const struct delta &s, const struct chunk &c, const struct gradients &to,
                                         int b, int head, int first, int n, int readers)
{
    int keys = s.chunk * s.n;
    int64_t row = ((int64_t)b * s.seq + first) * s.value_heads() + head;
    EACH(d, s.n) {
        float db = c.db[d];
        #pragma unroll 1
        for (int t = n - 1; t >= 0; t--) {
            int at = t * s.n + d;
            db += c.x[at] * c.dx[at] + (readers > KEYS ? c.x[keys + at] * c.dx[keys + at] : 0) - c.k[at] * c.dk[at];
            if (c.e[at] == 0) db = 0;
            c.dlate[at] = db;
            c.dq_sum[at] += c.dx[at];
            c.dk_sum[at] += c.dk[at] - (readers > KEYS ? c.dx[keys + at] : 0);
        }
    }
    __syncthreads();
    EACH_WARP(t, n) {
        int64_t at = row + (int64_t)t * s.value_heads();
        float dg = 0, dbeta = 0;
        for (int d = lane_of(); d < s.n; d += WARP)
            if (s.gates == 1) dg += c.dlate[t * s.n + d];
            else add(to.g, at * s.n + d, c.dlate[t * s.n + d]);
        for (int m = lane_of(); m < s.m; m += WARP) {
            dbeta += c.dr[t * s.m + m] * c.r[t * s.m + m];
            add(to.v, at * s.m + m, c.du[t * s.m + m]);
        }
        dg = warp_sum(dg);
        dbeta = warp_sum(dbeta);
        if (lane_of() != 0) continue;
        if (s.gates == 1) add(to.g, at, dg);
        add(to.beta, at, s.relative_start(b, first + t) <= 0 ? dbeta : 0);
    }
    __syncthreads();
}

static __global__ void __launch_bounds__(THREADS, 1)
delta_rule_backward(struct delta s, struct inputs in, struct gradients to, float *scratch, int64_t per_block)
{
    __shared__ struct chunk c;                              /* so many addresses would spill */
    int readers = s.delta ? 2 : 1;
    int keys = s.chunk * s.n;
    int64_t size = (int64_t)s.n * s.m;
    if (threadIdx.x == 0) chunk_in(s, scratch + blockIdx.x * per_block, &c);
    for (int item = blockIdx.x; item < s.batch * s.heads; item += gridDim.x) {
        int b = item / s.heads, key = item % s.heads;
        __syncthreads();
        EACH(i, s.share * s.n * s.m) c.ds[i] = 0;
        for (int number = s.chunks - 1; number >= 0; number--) {
            int first = s.first(number), n = s.tokens(number);
            int64_t row = ((int64_t)b * s.seq + first) * s.heads + key;
            EACH(i, n * s.n) {
                int64_t at = (row + (int64_t)(i / s.n) * s.heads) * s.n + i % s.n;
                c.x[i] = s.scale * load(in.q, at);
                c.k[i] = load(in.k, at);
                if (readers > KEYS) c.x[keys + i] = -c.k[i];
                c.dq_sum[i] = c.dk_sum[i] = 0;
            }
            for (int v = 0; v < s.share; v++) {
                int head = key * s.share + v;
                const float *state = in.entering + (((int64_t)b * s.value_heads() + head) * s.chunks + number) * size;
                read_head(s, in, c, b, head, first, n);
                __syncthreads();
                look_back(s, c, n, readers);
                look_ahead(s, c, n);
                __syncthreads();
                if (readers > KEYS)
                    multiply({ rows_at(c.old + keys, s.n), rows_at(state, s.m), c.r, n, s.m, s.n, true });
                __syncthreads();
                predict(s, c, n);
                __syncthreads();
                head_products(s, c, state, c.ds + v * size, n, readers);
                reader_gradients(s, c, n, readers);
                __syncthreads();
                write_head(s, c, to, b, head, first, n, readers);
            }
            EACH(i, n * s.n) {
                int64_t at = (row + (int64_t)(i / s.n) * s.heads) * s.n + i % s.n;
                add(to.q, at, s.scale * c.dq_sum[i]);
                add(to.k, at, c.dk_sum[i]);
            }
            __syncthreads();
        }
    }
}

static int blocks_of(const struct delta &s)
{
    return s.batch * s.heads < MOST_BLOCKS ? s.batch * s.heads : (int)MOST_BLOCKS;
}

size_t delta_backward_scratch(const struct delta &s)
{
    struct chunk c;
    return blocks_of(s) * chunk_in(s, NULL, &c) * sizeof(float);
}

void delta_backward(const struct args *a, const struct delta &s)
{
    struct chunk c;
    struct inputs in = { view_of(a->in[Q]), view_of(a->in[K]), view_of(a->in[V]), view_of(a->dout[0]), reals(&a->in[G]),
                         reals(&a->in[BETA]), reals(&a->save[0]) };
    struct gradients to = { sum_of(a, Q), sum_of(a, K), sum_of(a, V), sum_of(a, G), sum_of(a, BETA) };
    LAUNCH(a, delta_rule_backward, blocks_of(s), THREADS, 0, s, in, to, (float *)a->scratch,
           (int64_t)chunk_in(s, NULL, &c));
}
