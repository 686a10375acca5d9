/* Ops on one value at a time: z = f(x, y), one line each. Op, CPU kernels of every instruction set, CUDA kernels and
   test cases are made of these lines; formulas are compiled as C in `real` and by nvcc in float, each with the
   functions fn_ that it has.

       ROW(X, kind, name, reads, "what it is", value, slope by x, slope by y)

   kind: how it is called, and with which numbers p and q. reads: what the slopes name of x, y and z, the result, x or z
   but not both; TO_REAL: the result is REAL whatever x is; CHEAP: may be computed again in backward rather than kept;
   NOT_Y: y is a constant, so that who needs the gradient of x need not wait for x. dz is the gradient that arrives. */
#ifndef SLUICE_ELEMENTWISE_H
#define SLUICE_ELEMENTWISE_H

enum { X_ = 1, Y_ = 2, Z_ = 4, TO_REAL = 8, CHEAP = 16, NOT_Y = 32 };

/* UNARY name(g, x)   POSITIVE the same, for an x above 0   STEEP the same, with a slope that grows towards 0
   BINARY name(g, x, y)   BY name(g, x, p)   RANGE name(g, x, p, q)   GLU name(g, x, y, p, q) */
#define ELEMENTWISE(ROW, X) \
    /* arithmetic */ \
    ROW(X, BINARY, add,      0,               "x + y", \
        x + y,                              dz,                                dz) \
    ROW(X, BINARY, subtract, 0,               "x - y", \
        x - y,                              dz,                                -dz) \
    ROW(X, BINARY, mul,      X_ | Y_,         "x y", \
        x * y,                              y * dz,                            x * dz) \
    ROW(X, BINARY, divide,   Y_ | NOT_Y,      "x / y; 0 / 0 is NaN, and where y is 0 no gradient passes", \
        fn_divide(x, y),                    y == 0 ? 0 : fn_divide(dz, y),     0) \
    ROW(X, POSITIVE, reciprocal, Z_,          "1 / x", \
        fn_divide(1, x),                    -z * z * dz,                       0) \
    ROW(X, UNARY,  square,   X_,              "x^2", \
        x * x,                              2 * x * dz,                        0) \
    ROW(X, BY,     scale,    0,               "p x", \
        p * x,                              p * dz,                            0) \
    ROW(X, BY,     offset,   0,               "x + p", \
        x + p,                              dz,                                0) \
    ROW(X, RANGE,  clamp,    X_,              "x, kept within p and q", \
        x < p ? p : x > q ? q : x,          x < p || x > q ? 0 : dz,           0) \
    ROW(X, POSITIVE, root, Z_,                "square root of x", \
        fn_sqrt(x),                         fn_divide(dz, 2 * z),              0) \
    ROW(X, STEEP,  signed_root, X_,           "sign(x) sqrt(|x|), |x| 1e-6 or more: below no gradient", \
        fn_signed_root(x),                  fn_signed_root_slope(x) * dz,      0) \
    /* functions */ \
    ROW(X, UNARY,  exp_of,   Z_,              "e^x", \
        fn_exp(x),                          z * dz,                            0) \
    ROW(X, POSITIVE, log_of, X_,              "log x, of an x above 0", \
        fn_log(x),                          fn_divide(dz, x),                  0) \
    ROW(X, UNARY,  tanh_of,  Z_,              "tanh x", \
        fn_tanh(x),                         (1 - z * z) * dz,                  0) \
    ROW(X, BY,     softcap,  Z_,              "p tanh(x / p)", \
        p * fn_tanh(fn_divide(x, p)),       (1 - fn_divide(z, p) * fn_divide(z, p)) * dz, 0) \
    ROW(X, UNARY,  sigmoid,  Z_ | TO_REAL,    "1 / (1 + e^-x)", \
        fn_sigmoid(x),                      z * (1 - z) * dz,                  0) \
    ROW(X, UNARY,  softplus, X_,              "log(1 + e^x)", \
        fn_softplus(x),                     fn_sigmoid(x) * dz,                0) \
    ROW(X, UNARY,  normal,   X_ | TO_REAL,    "F(x), F the standard normal distribution", \
        fn_normal(x),                       fn_density(x) * dz,                0) \
    ROW(X, UNARY,  sqrt_softplus, X_ | TO_REAL, "sqrt(log(1 + e^x)), DeepSeek-V4's score", \
        fn_sqrt(fn_softplus(x)),            fn_sqrt_softplus_slope(x) * dz,    0) \
    /* activations */ \
    ROW(X, UNARY,  relu,     X_ | CHEAP,      "max(x, 0)", \
        x > 0 ? x : 0,                      x > 0 ? dz : 0,                    0) \
    ROW(X, UNARY,  relu2,    X_ | CHEAP,      "max(x, 0)^2", \
        x > 0 ? x * x : 0,                  x > 0 ? 2 * x * dz : 0,            0) \
    ROW(X, BY,     leaky_relu2, X_ | CHEAP,   "max(x, p x)^2, p below 1", \
        (x > 0 ? x : p * x) * (x > 0 ? x : p * x), (x > 0 ? 2 : 2 * p * p) * x * dz,  0) \
    ROW(X, UNARY,  silu,     X_ | CHEAP,      "x s(x), s the sigmoid", \
        x * fn_sigmoid(x),                  fn_silu_slope(x) * dz,             0) \
    ROW(X, UNARY,  gelu,     X_ | CHEAP,      "x F(x), F the normal distribution", \
        x * fn_normal(x),                   fn_gelu_slope(x) * dz,             0) \
    ROW(X, BINARY, swiglu,   X_ | Y_ | CHEAP, "silu(x) y; x the gate", \
        x * fn_sigmoid(x) * y,              dz * fn_sigmoid(x) * y * (1 + x * (1 - fn_sigmoid(x))), \
                                            dz * fn_sigmoid(x) * x) \
    ROW(X, BINARY, geglu,    X_ | Y_ | CHEAP, "gelu(x) y", \
        x * fn_normal(x) * y,               fn_gelu_slope(x) * y * dz,         x * fn_normal(x) * dz) \
    ROW(X, BINARY, reglu,    X_ | Y_ | CHEAP, "relu(x) y", \
        x > 0 ? x * y : 0,                  y * (x > 0 ? dz : 0),              (x > 0 ? x : 0) * dz) \
    ROW(X, GLU,    swiglu_clamped, X_ | Y_ | CHEAP, "silu(min(x, p)) y, y kept within -q and q; DeepSeek-V4", \
        fn_silu(fn_min(x, p)) * fn_within(y, q), x > p ? 0 : fn_silu_slope(x) * fn_within(y, q) * dz, \
                                            y < -q || y > q ? 0 : fn_silu(fn_min(x, p)) * dz) \
    ROW(X, GLU,    swiglu_oss, X_ | Y_ | CHEAP, "u s(q u) (y + 1), u = min(x, p), y kept within -p and p; gpt-oss", \
        fn_silu_by(fn_min(x, p), q) * (fn_within(y, p) + 1), \
                                            x > p ? 0 : fn_silu_slope(q * x) * (fn_within(y, p) + 1) * dz, \
                                            y < -p || y > p ? 0 : fn_silu_by(fn_min(x, p), q) * dz) \
    ROW(X, GLU,    situglu,  X_ | Y_ | CHEAP, "p tanh(x / p) s(x) q tanh(y / q)", \
        fn_cap(x, p) * fn_sigmoid(x) * fn_cap(y, q), fn_situ_slope(x, p) * fn_cap(y, q) * dz, \
                                            fn_cap(x, p) * fn_sigmoid(x) * fn_cap_slope(y, q) * dz)

/* The functions that a compiler has no fast form of, in float, from those that it has; good to 2e-7.
   FN: their storage class. */
#define ELEMENTWISE_FLOAT(FN) \
    /* log(1 + e), e = e^-|x| */ \
    FN float fn_softplus(float x) \
    { \
        float e = fn_exp(x > 0 ? -x : x), near = e * (1 - e * (0.5f - e * 0.33333333f)); \
        return (x > 0 ? x : 0) + (e < 1e-3f ? near : fn_log(1 + e)); \
    } \
    /* (1 + erf(x / sqrt 2)) / 2. Abramowitz and Stegun 7.1.26 */ \
    FN float fn_normal(float x) \
    { \
        float u = 0.70710678f * (x < 0 ? -x : x), t = fn_divide(1, 1 + 0.3275911f * u); \
        float tail = 0.5f * fn_exp(-u * u) * t * \
            (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f)))); \
        return x < 0 ? tail : 1 - tail; \
    }

/* What formulas are made of. Density: that of the standard normal distribution. */
#define ELEMENTWISE_PARTS(FN, fn_real) \
    FN fn_real fn_min(fn_real x, fn_real p) { return x > p ? p : x; } \
    FN fn_real fn_within(fn_real x, fn_real p) { return x < -p ? -p : x > p ? p : x; } \
    FN fn_real fn_silu_by(fn_real x, fn_real q) { return x * fn_sigmoid(q * x); } \
    FN fn_real fn_silu(fn_real x) { return x * fn_sigmoid(x); } \
    FN fn_real fn_silu_slope(fn_real x) { fn_real s = fn_sigmoid(x); return s * (1 + x * (1 - s)); } \
    FN fn_real fn_cap(fn_real x, fn_real p) { return p * fn_tanh(fn_divide(x, p)); } \
    FN fn_real fn_cap_slope(fn_real x, fn_real p) { fn_real t = fn_tanh(fn_divide(x, p)); return 1 - t * t; } \
    FN fn_real fn_situ_slope(fn_real x, fn_real p) \
    { \
        fn_real s = fn_sigmoid(x); \
        return s * (fn_cap_slope(x, p) + fn_cap(x, p) * (1 - s)); \
    } \
    /* s(x) / (2 root); far below 0 both are 0, and so is what they tend to */ \
    FN fn_real fn_sqrt_softplus_slope(fn_real x) \
    { \
        fn_real root = fn_sqrt(fn_softplus(x)); \
        return root == 0 ? 0 : fn_divide(fn_sigmoid(x), 2 * root); \
    } \
    FN fn_real fn_signed_root(fn_real x) \
    { \
        fn_real size = x < 0 ? -x : x, root = fn_sqrt(size > (fn_real)1e-6 ? size : (fn_real)1e-6); \
        return x > 0 ? root : x < 0 ? -root : 0; \
    } \
    FN fn_real fn_signed_root_slope(fn_real x) \
    { \
        fn_real size = x < 0 ? -x : x; \
        return size > (fn_real)1e-6 ? fn_divide(1, 2 * fn_sqrt(size)) : 0; \
    } \
    FN fn_real fn_density(fn_real x) { return (fn_real)0.3989422804014327 * fn_exp((fn_real)-0.5 * x * x); } \
    FN fn_real fn_gelu_slope(fn_real x) { return fn_normal(x) + x * fn_density(x); }

#endif
