/* Ops on one value at a time, from the table in graph/elementwise.h. Bound by memory; see values.cuh. */
#include "values.cuh"

#define fn_exp __expf
#define fn_log __logf
#define fn_sigmoid sigmoid
#define fn_tanh hyperbolic_tangent
#define fn_divide divide
#define FN static __device__ inline
/* not by the exact instruction, which is a call; see divide */
FN float fn_sqrt(float x) { return x == 0 ? 0 : x * rsqrtf(x); }
ELEMENTWISE_FLOAT(FN)
ELEMENTWISE_PARTS(FN, float)

#define UNARY_TWO false
#define POSITIVE_TWO false
#define STEEP_TWO false
#define BINARY_TWO true
#define BY_TWO false
#define RANGE_TWO false
#define GLU_TWO true
#define ELEMENTWISE_TWIN(X, kind, name, reads, about, value_, slope_x, slope_y) \
struct name##_values { \
    enum { TWO = kind##_TWO && !((reads) & NOT_Y) }; \
    static __device__ float value(float x, float y, float p, float q) \
    { \
        (void)x, (void)y, (void)p, (void)q; \
        return (value_); \
    } \
    static __device__ float along_x(float x, float y, float z, float dz, float p, float q) \
    { \
        (void)x, (void)y, (void)z, (void)dz, (void)p, (void)q; \
        return (slope_x); \
    } \
    static __device__ float along_y(float x, float y, float dz, float p, float q) \
    { \
        (void)x, (void)y, (void)dz, (void)p, (void)q; \
        return (slope_y); \
    } \
}; \
static void name##_forward(const struct args *a) { forward_values<name##_values>(a); } \
static void name##_backward(const struct args *a) { backward_values<name##_values>(a, reads); } \
TWIN(name, name##_forward, name##_backward);

ELEMENTWISE(ELEMENTWISE_TWIN, )

/* ---- activations that rows of experts are weighed after ---- */

template <class Op, int READS> static kernel *weighed()
{
    if constexpr ((READS & CHEAP) != 0) return forward_weighed<Op>;
    else return NULL;
}

#define WEIGHED(X, kind, name, reads, ...) if (activation == name##_forward) return weighed<name##_values, (reads)>();

extern "C" kernel *fuse_weighed(kernel *activation, const struct args *by)
{
    if (shape_last(by->in[0].shape) % LANES) return NULL;
    ELEMENTWISE(WEIGHED, )
    return NULL;
}
