/* add, mul, divide, square, scale, sigmoid. Bound by memory; see values.cuh. */
#include "values.cuh"

static const struct view none = {};

/* ---- add: a + b ---- */

struct add_values {
    static __device__ float value(float x, float y, float) { return x + y; }
    static __device__ void gradient(float, float, float dz, float, float *dx, float *dy) { *dx = *dy = dz; }
};

static void add_forward(const struct args *a) { forward_values<add_values>(a, view_of(a->in[0]), view_of(a->in[1]), 0); }
static void add_backward(const struct args *a) { backward_values<add_values>(a, none, none, 0); }
TWIN(add, add_forward, add_backward);

/* ---- mul: a b;  da = b dz, db = a dz ---- */

struct mul_values {
    static __device__ float value(float x, float y, float) { return x * y; }
    static __device__ void gradient(float x, float y, float dz, float, float *dx, float *dy) { *dx = y * dz; *dy = x * dz; }
};

static void mul_forward(const struct args *a) { forward_values<mul_values>(a, view_of(a->in[0]), view_of(a->in[1]), 0); }
static void mul_backward(const struct args *a) { backward_values<mul_values>(a, view_of(a->in[0]), view_of(a->in[1]), 0); }
TWIN(mul, mul_forward, mul_backward);

/* ---- divide: a / b;  da = dz / b, 0 where b is 0 ---- */

struct divide_values {
    static __device__ float value(float x, float y, float) { return divide(x, y); }
    static __device__ void gradient(float, float y, float dz, float, float *dx, float *nothing) { *dx = y == 0 ? 0 : divide(dz, y); *nothing = 0; }
};

static void divide_forward(const struct args *a) { forward_values<divide_values>(a, view_of(a->in[0]), view_of(a->in[1]), 0); }
static void divide_backward(const struct args *a) { backward_values<divide_values>(a, none, view_of(a->in[1]), 0); }
TWIN(divide, divide_forward, divide_backward);

/* ---- square: x^2;  dx = 2 x dy ---- */

struct square_values {
    static __device__ float value(float x, float, float) { return x * x; }
    static __device__ void gradient(float x, float, float dz, float, float *dx, float *dy) { *dx = 2 * x * dz; *dy = 0; }
};

static void square_forward(const struct args *a) { forward_values<square_values>(a, view_of(a->in[0]), none, 0); }
static void square_backward(const struct args *a) { backward_values<square_values>(a, view_of(a->in[0]), none, 0); }
TWIN(square, square_forward, square_backward);

/* ---- scale: by x ---- */

struct scale_values {
    static __device__ float value(float x, float, float by) { return by * x; }
    static __device__ void gradient(float, float, float dz, float by, float *dx, float *dy) { *dx = by * dz; *dy = 0; }
};

static void scale_forward(const struct args *a) { forward_values<scale_values>(a, view_of(a->in[0]), none, *(const double *)a->attr); }
static void scale_backward(const struct args *a) { backward_values<scale_values>(a, none, none, *(const double *)a->attr); }
TWIN(scale, scale_forward, scale_backward);

/* ---- sigmoid: y = 1 / (1 + e^-x);  dx = y (1 - y) dy, which reads y in the place of x ---- */

struct sigmoid_values {
    static __device__ float value(float x, float, float) { return sigmoid(x); }
    static __device__ void gradient(float y, float, float dy, float, float *dx, float *nothing) { *dx = dy * y * (1 - y); *nothing = 0; }
};

static void sigmoid_forward(const struct args *a) { forward_values<sigmoid_values>(a, view_of(a->in[0]), none, 0); }
static void sigmoid_backward(const struct args *a) { backward_values<sigmoid_values>(a, view_of(a->out[0]), none, 0); }
TWIN(sigmoid, sigmoid_forward, sigmoid_backward);
