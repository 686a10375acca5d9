/* A step whose loss or gradient norm is far above those before it is left out. One thread walks two short rings. */
#include "kernel.cuh"

enum { CLIP, LOSS, NORM, RINGS, SEEN };                     /* inputs */
enum { GO, OUTLIER };                                       /* outputs */

/* More than sigma standard deviations above the mean of the first n of a ring. */
static __device__ inline bool is_outlier(const float *ring, int n, float x, float sigma)
{
    float mean = 0, squares = 0;
    for (int i = 0; i < n; i++) mean += ring[i];
    mean = divide(mean, (float)n);
    for (int i = 0; i < n; i++) squares += (ring[i] - mean) * (ring[i] - mean);
    return x > mean + sigma * sqrtf(divide(squares, (float)(n - 1)));
}

static __global__ void __launch_bounds__(WARP)
look(const float *clip, const float *loss, const float *norm, float *rings, float *seen, int length, float sigma,
     float *out, float *outlier)
{
    if (threadIdx.x != 0) return;
    int count = (int)*seen, n = min(count, length), at = count < length ? count : count - length;
    bool far = false, go = clip[1] != 0;
    for (int i = 0; i < 2 && go; i++) {
        float x = i ? *norm : *loss, *ring = rings + i * length;
        far |= n >= 2 && 2 * n >= length && is_outlier(ring, n, x, sigma);
        ring[at] = x;
    }
    if (go) *seen = (float)(count + 1 < 2 * length ? count + 1 : length);
    out[0] = clip[0];
    out[1] = go && !far;
    *outlier = far;
}

static void forward(const struct args *a)
{
    const struct skip_outliers_attr *at = (const struct skip_outliers_attr *)a->attr;
    LAUNCH(a, look, 1, WARP, 0, reals(&a->in[CLIP]), reals(&a->in[LOSS]), reals(&a->in[NORM]), reals(&a->in[RINGS]),
           reals(&a->in[SEEN]), (int)a->in[RINGS].shape.dim[1], (float)at->sigma, reals(&a->out[GO]),
           reals(&a->out[OUTLIER]));
}

TWIN(skip_outliers, forward);
