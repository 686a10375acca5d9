/* CUDA side of runtime/ops/noisy_topk.c. threshold: a warp takes a token; bound by memory, of which it reads its keys
   and writes as many values. cv2: one warp, a lane every 32nd value. */
#include "warp.cuh"

/* ---- threshold: key K+1 for what is chosen, key K for what is not;  gradients go to these two ---- */

static __device__ inline bool is_chosen(const int32_t *index, int k, int expert)
{
    for (int j = 0; j < k; j++) if (index[j] == expert) return true;
    return false;
}

/* Whether key a of expert i goes before key b of expert j: NaN comes last, ties go to the lower index. */
static __device__ inline bool goes_before(float a, int i, float b, int j)
{
    if (a != a || b != b) return b != b && (a == a || i < j);
    return a > b || (a == b && i < j);
}

static __global__ void __launch_bounds__(BLOCK)
threshold_forward(const float *key, const int32_t *index, float *y, int32_t *next, int64_t tokens, int experts, int k,
                  struct fault *fault)
{
    EACH_ROW(t, tokens) {
        const float *row = key + t * experts;
        const int32_t *of = index + t * k;
        float best = NAN;
        int at = INT32_MAX;
        #pragma unroll 1
        for (int j = lane_of(); j < k; j += WARP) legal(fault, FAULT_EXPERT, of[j], experts);
        for (int e = lane_of(); e < experts; e += WARP)
            if (!is_chosen(of, k, e) && goes_before(row[e], e, best, at)) best = row[e], at = e;
        for (int step = WARP / 2; step > 0; step /= 2) {
            float other = __shfl_xor_sync(ALL_LANES, best, step);
            int there = __shfl_xor_sync(ALL_LANES, at, step);
            if (goes_before(other, there, best, at)) best = other, at = there;
        }
        if (lane_of() == 0) next[t] = at;
        float last = (unsigned)of[k - 1] < (unsigned)experts ? row[of[k - 1]] : 0;
        for (int e = lane_of(); e < experts; e += WARP) y[t * experts + e] = is_chosen(of, k, e) ? best : last;
    }
}

static __global__ void __launch_bounds__(BLOCK)
threshold_backward(struct sum dx, const int32_t *index, const int32_t *next, const float *dy, int64_t tokens,
                   int experts, int k)
{
    EACH_ROW(t, tokens) {
        const int32_t *of = index + t * k;
        float chosen = 0, left = 0;
        for (int e = lane_of(); e < experts; e += WARP) {
            float d = dy[t * experts + e];
            if (is_chosen(of, k, e)) chosen += d;
            else left += d;
        }
        chosen = warp_sum(chosen);
        left = warp_sum(left);
        for (int e = lane_of(); e < experts; e += WARP)
            add(dx, t * experts + e, e == of[k - 1] ? left : e == next[t] ? chosen : 0);
    }
}

static void threshold_values(const struct args *a)
{
    int64_t tokens = a->in[0].shape.dim[0];
    LAUNCH(a, threshold_forward, grid_for(a, tokens, WARPS), BLOCK, 0, reals(&a->in[0]), ints(&a->in[1]),
           reals(&a->out[0]), ints(&a->save[0]), tokens, (int)a->in[0].shape.dim[1], (int)a->in[1].shape.dim[1],
           device_of(a)->fault);
}

static void threshold_back(const struct args *a)
{
    int64_t tokens = a->in[0].shape.dim[0];
    if (!a->din[0].data) return;
    LAUNCH(a, threshold_backward, grid_for(a, tokens, WARPS), BLOCK, 0, sum_of(a, 0), ints(&a->in[1]),
           ints(&a->save[0]), reals(&a->dout[0]), tokens, (int)a->in[0].shape.dim[1], (int)a->in[1].shape.dim[1]);
}

TWIN(threshold, threshold_values, threshold_back);

/* ---- cv2: V / (m^2 + eps);  dx = dy 2 / (E (m^2 + eps)) (x - m - y m) ---- */

struct spread { double mean, square, variance; };           /* square: m^2 + eps */

static __device__ inline struct spread spread_of(const float *x, int n)
{
    double sum = 0, squares = 0;
    for (int i = threadIdx.x; i < n; i += WARP) sum += x[i];
    double mean = warp_sum(sum) / n;
    for (int i = threadIdx.x; i < n; i += WARP) squares += (x[i] - mean) * (x[i] - mean);
    return { mean, mean * mean + 1e-10, warp_sum(squares) / n };
}

static __global__ void __launch_bounds__(WARP) cv2_forward(const float *x, float *y, int n)
{
    struct spread s = spread_of(x, n);
    if (threadIdx.x == 0) *y = (float)(s.variance / s.square);
}

static __global__ void __launch_bounds__(WARP) cv2_backward(struct sum dx, const float *x, const float *dy, int n)
{
    struct spread s = spread_of(x, n);
    double y = s.variance / s.square, by = 2 * *dy / (n * s.square);
    for (int i = threadIdx.x; i < n; i += WARP) add(dx, i, (float)(by * (x[i] - s.mean - y * s.mean)));
}

static void cv2_value(const struct args *a)
{
    LAUNCH(a, cv2_forward, 1, WARP, 0, reals(&a->in[0]), reals(&a->out[0]), (int)a->in[0].shape.dim[0]);
}

static void cv2_back(const struct args *a)
{
    if (a->din[0].data)
        LAUNCH(a, cv2_backward, 1, WARP, 0, sum_of(a, 0), reals(&a->in[0]), reals(&a->dout[0]),
               (int)a->in[0].shape.dim[0]);
}

TWIN(cv2, cv2_value, cv2_back);
