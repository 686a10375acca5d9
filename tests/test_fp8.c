/* FP8: numbers of both formats against tables of all their codes; products against operands that are quantised once
   more here, in double; delayed scaling in training; and what is refused. */
#include "op_cases.h"
#include "base/fp8.h"
#include "tiny.h"

/* ---- all codes ---- */

static const struct { enum fp8_format format; int mantissa, bias; double largest; } formats[] = {
    { FP8_E4M3, 3, 7, 448 }, { FP8_E5M2, 2, 15, 57344 }
};

/* NaN and infinities too. */
static double decoded(int f, int code)
{
    int m = formats[f].mantissa, exponent = (code & 127) >> m, fraction = code & ((1 << m) - 1);
    double sign = code & 128 ? -1 : 1, one = ldexp(fraction, -m);
    bool top = exponent == (128 >> m) - 1;
    if (formats[f].format == FP8_E4M3 && top && fraction == 7) return NAN;
    if (formats[f].format == FP8_E5M2 && top) return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1 + one, exponent - formats[f].bias) : ldexp(one, 1 - formats[f].bias));
}

/* Of the positive codes the nearest, of two the even; the largest number for what is beyond. */
static double nearest(int f, double x)
{
    double best = 0, size = fmin(fabs(x), formats[f].largest);
    int at = 0;
    if (isnan(x)) return x;
    for (int code = 0; code < 128; code++) {
        double value = decoded(f, code), by = fabs(value - size), before = fabs(best - size);
        if (!isfinite(value)) continue;
        if (by < before || (by == before && code % 2 == 0 && at % 2 == 1)) best = value, at = code;
    }
    return copysign(best, x);
}

static void expect(int f, float x)
{
    double want = nearest(f, x), got = (double)fp8_round(formats[f].format, x);
    if (!(got == want && signbit(got) == signbit(want)) && !(isnan(got) && isnan(want)))
        fail_msg("format %d: %.9g becomes %.9g, the nearest is %.9g", f, (double)x, got, want);
}

static void every_code(void **state)
{
    (void)state;
    for (int f = 0; f < COUNT(formats); f++) {
        int numbers = 0;
        for (int code = 0; code < 256; code++) {
            double value = decoded(f, code);
            numbers += isfinite(value);
            expect(f, (float)value);
            if (isfinite(value) && (double)fp8_round(formats[f].format, (float)value) != value)
                fail_msg("code %d is %g, and does not stay", code, value);
        }
        assert_int_equal(numbers, formats[f].format == FP8_E4M3 ? 254 : 248);
        assert_true((double)fp8_largest(formats[f].format) == formats[f].largest);
    }
}

static void between_codes(void **state)
{
    (void)state;
    for (int f = 0; f < COUNT(formats); f++) {
        for (int code = 0; code < 127 && isfinite(decoded(f, code + 1)); code++) {
            float middle = (float)((decoded(f, code) + decoded(f, code + 1)) / 2);
            const float x[] = { middle, nextafterf(middle, 0), nextafterf(middle, INFINITY) };
            for (int i = 0; i < COUNT(x); i++) expect(f, x[i]), expect(f, -x[i]);
        }
        const float ends[] = { 1e-30f, 1e-45f, (float)formats[f].largest * 1.04f, 1e9f, FLT_MAX, INFINITY, NAN };
        for (int i = 0; i < COUNT(ends); i++) expect(f, ends[i]), expect(f, -ends[i]);
    }
}

/* Half a unit of the last place is 2^-4 of a number, and 2^-3. */
static void error_of_normals(void **state)
{
    (void)state;
    for (int f = 0; f < COUNT(formats); f++)
        for (uint64_t i = 0; i < 20000; i++) {
            double u = key_uniform((struct key){ 3, PURPOSE_TEST, 0, 0 }, i), low = 1 - formats[f].bias;
            float x = (float)exp2(low + u * (log2(formats[f].largest) - low));
            expect(f, x);
            double error = fabs((double)fp8_round(formats[f].format, x) / (double)x - 1);
            if (!(error <= ldexp(1, -1 - formats[f].mantissa))) fail_msg("%g is off by %g of it", (double)x, error);
        }
}

static double scale_of(int f, double amax, bool power)
{
    double s = 1;
    if (!power) return (double)(float)(amax / formats[f].largest);
    while (formats[f].largest * s < amax) s *= 2;
    while (formats[f].largest * s / 2 >= amax) s /= 2;
    return s;
}

static void scales(void **state)
{
    (void)state;
    for (int f = 0; f < COUNT(formats); f++)
        for (int power = 0; power < 2; power++) {
            enum fp8_format format = formats[f].format;
            for (uint64_t i = 0; i < 20000; i++) {
                float amax = (float)exp2(200 * key_uniform((struct key){ 4, PURPOSE_TEST, 0, 0 }, i) - 90);
                if (i % 7 == 0) amax = ldexpf((float)formats[f].largest, (int)(i % 150) - 75);
                struct fp8_scale s = fp8_scale_of(format, amax, power);
                double want = scale_of(f, (double)amax, power);
                if ((double)s.back != want) fail_msg("amax %.9g has scale %.9g, not %.9g", (double)amax,
                                                     (double)s.back, want);
            }
            /* multiples of a scale that are in the format stay what they are */
            for (int code = 0; code < 127 && isfinite(decoded(f, code)); code++) {
                float by = power ? 0x1p-9f : 5.0f / 16, x = by * (float)decoded(f, code);
                struct fp8_scale s = fp8_scale_of(format, by * (float)formats[f].largest, power);
                if (fp8_quantized(format, s, x) != x) fail_msg("code %d times its scale does not stay", code);
            }
            struct fp8_scale nothing = fp8_scale_of(format, 0, power), tiny = fp8_scale_of(format, 1e-35f, power),
                             infinite = fp8_scale_of(format, INFINITY, power);
            assert_true(fp8_quantized(format, nothing, 0) == 0 && fp8_quantized(format, tiny, 1e-35f) == 0);
            assert_true(isnan(fp8_quantized(format, nothing, NAN)) && isnan(fp8_quantized(format, infinite, 1)));
            assert_true(isnan(fp8_quantized(format, infinite, INFINITY)));
        }
}

/* ---- products ---- */

enum { X, W, OFFSETS, HISTORY, DY = 2, TILE = 128 };
enum shared { OF_ROW, OF_COLUMN, OF_BLOCK, OF_ALL };

static const struct op_case cases[] = { CASES(BENCH_CASE) LARGE_CASES(BENCH_CASE) };

static const struct fp8_attr *attr_of(const struct bench *b) { return b->node->attr; }

static double *values_of(const struct tensor *t)
{
    double *x = xcalloc((size_t)shape_count(t->shape), sizeof *x);
    for (int64_t i = 0; i < shape_count(t->shape); i++) x[i] = tensor_get(t, i);
    return x;
}

/* Where row r's segment begins, and where it ends: an expert's rows, or its matrix; false: it is nobody's. */
static bool segment_of(const struct bench *b, int k, int64_t r, int64_t *begin, int64_t *end)
{
    struct shape w = b->in[W].shape;
    *begin = 0;
    *end = k == W ? w.dim[w.rank - 2] : b->in[X].shape.dim[0];
    if (k == W) *begin = r / *end * *end, *end += *begin;
    if (k == W || !b->in[OFFSETS].data) return true;
    const int32_t *offsets = ints(&b->in[OFFSETS]);
    int64_t e = 0, experts = w.dim[0];
    while (e < experts && r >= offsets[e + 1]) e++;
    if (e == experts) return false;
    *begin = offsets[e];
    *end = offsets[e + 1];
    return true;
}

static double past(const struct bench *b, int k)
{
    double top = 0;
    for (int64_t i = 0; b->in[HISTORY].data && i < b->in[HISTORY].shape.dim[0]; i++)
        top = fmax(top, tensor_get(&b->in[HISTORY], 3 * i + k));
    return top;
}

/* x / s in float: a product by 1 / s. */
static double into(double x, double s) { return (double)((float)x * (1 / (float)s)); }

/* Each value by the largest of those that share its scale, looked for again for each. */
static double *quantised(const struct bench *b, int k, enum shared shared, const double *x, int64_t rows, int64_t cols)
{
    const struct fp8_attr *at = attr_of(b);
    int f = (k == DY ? at->gradient : at->forward) == FP8_E5M2;
    double *q = xcalloc((size_t)(rows * cols), sizeof *q), all = 0;
    int64_t begin, end;
    for (int64_t i = 0; i < rows * cols; i++)
        if (segment_of(b, k, i / cols, &begin, &end)) all = fmax(all, fabs(x[i]));
    if (at->scaling == FP8_DELAYED) all = past(b, k);
    for (int64_t i = 0; i < rows * cols; i++) {
        int64_t r = i / cols, c = i % cols;
        double top = at->scaling == FP8_TILE ? 0 : all;
        if (!segment_of(b, k, r, &begin, &end)) continue;
        int64_t first = shared == OF_ROW ? r : begin + (r - begin) / TILE * TILE, left = shared == OF_COLUMN ? c
                        : c / TILE * TILE, last = shared == OF_ROW ? r + 1 : first + TILE < end ? first + TILE : end,
                right = shared == OF_COLUMN ? c + 1 : left + TILE < cols ? left + TILE : cols;
        for (int64_t j = first; j < last && at->scaling == FP8_TILE; j++)
            for (int64_t l = left; l < right; l++) top = fmax(top, fabs(x[j * cols + l]));
        double s = top > 0 ? scale_of(f, top, at->power) : 0;
        q[i] = (k == DY ? at->gradient : at->forward) == FP8_NONE ? x[i] : s > 0 ? nearest(f, into(x[i], s)) * s : 0;
        if (at->power == 0) q[i] = (double)(float)q[i];
    }
    return q;
}

static void compare_held(const struct bench *b, const char *name, int k, const double *q, int64_t cols)
{
    int64_t begin, end;
    for (int64_t i = 0; i < shape_count(b->work[k].shape); i++)
        if (segment_of(b, k, i / cols, &begin, &end) && tensor_get(&b->work[k], i) != q[i])
            fail_msg("%s: operand %d, value %lld is %.9g, not %.9g", name, k, (long long)i,
                     tensor_get(&b->work[k], i), q[i]);
}

static void near_sum(const char *name, const char *what, const struct tensor *t, int64_t i, double sum, double sizes)
{
    if (!(fabs(tensor_get(t, i) - sum) <= 2e-6 * sizes))
        fail_msg("%s: %s, value %lld is %.9g, not %.9g", name, what, (long long)i, tensor_get(t, i), sum);
}

/* The matrix of the expert of a row, or -1. */
static int64_t expert_of(const struct bench *b, int64_t r)
{
    int64_t begin, end, e = 0;
    if (!segment_of(b, X, r, &begin, &end)) return -1;
    while (b->in[OFFSETS].data && ints(&b->in[OFFSETS])[e + 1] <= r) e++;
    return e;
}

static void check_case(const struct op_case *c)
{
    struct bench b;
    bench_open(&b, c, false, 1);
    int64_t rows = b.in[X].shape.dim[0], in = b.in[X].shape.dim[1], out = b.out[0].shape.dim[1],
            stack = shape_count(b.in[W].shape) / (in * out);
    double *x = values_of(&b.in[X]), *w = values_of(&b.in[W]), *dy = values_of(&b.dout[0]),
           *xq = quantised(&b, X, OF_ROW, x, rows, in), *wq = quantised(&b, W, OF_BLOCK, w, stack * out, in),
           *rows_dy = quantised(&b, DY, OF_ROW, dy, rows, out), *cols_dy = quantised(&b, DY, OF_COLUMN, dy, rows, out),
           *again = attr_of(&b)->scaling == FP8_TILE ? quantised(&b, X, OF_COLUMN, xq, rows, in) : xq,
           *dw = xcalloc((size_t)(2 * stack * in * out), sizeof *dw), *sizes = dw + stack * in * out;
    struct tensor dx_wanted = b.din[X], dw_wanted = b.din[W];
    bench_forward(&b);
    compare_held(&b, c->name, X, xq, in);
    compare_held(&b, c->name, W, wq, in);
    b.din[W].data = NULL;
    bench_backward(&b);
    compare_held(&b, c->name, DY, rows_dy, out);
    b.din[W] = dw_wanted;
    b.din[X].data = NULL;
    bench_backward(&b);
    compare_held(&b, c->name, X, again, in);
    compare_held(&b, c->name, DY, cols_dy, out);
    b.din[X] = dx_wanted;
    for (int64_t r = 0; r < rows; r++) {
        int64_t e = expert_of(&b, r);
        for (int64_t o = 0; o < out; o++) {
            double sum = 0, size = 0;
            for (int64_t i = 0; i < in && e >= 0; i++) {
                double term = xq[r * in + i] * wq[(e * out + o) * in + i];
                sum += term;
                size += fabs(term);
                dw[(e * out + o) * in + i] += cols_dy[r * out + o] * again[r * in + i];
                sizes[(e * out + o) * in + i] += fabs(cols_dy[r * out + o] * again[r * in + i]);
            }
            near_sum(c->name, "y", &b.out[0], r * out + o, sum, size);
        }
        for (int64_t i = 0; i < in; i++) {
            double sum = 0, size = 0;
            for (int64_t o = 0; o < out && e >= 0; o++) {
                double term = rows_dy[r * out + o] * wq[(e * out + o) * in + i];
                sum += term;
                size += fabs(term);
            }
            near_sum(c->name, "dx", &dx_wanted, r * in + i, sum, size);
        }
    }
    for (int64_t i = 0; i < stack * in * out; i++) near_sum(c->name, "dw", &dw_wanted, i, dw[i], sizes[i]);
    if (again != xq) free(again);
    free(x), free(w), free(dy), free(xq), free(wq), free(rows_dy), free(cols_dy), free(dw);
    bench_close(&b);
}

static void products(void **state)
{
    int tried = 0;
    (void)state;
    for (int i = 0; i < COUNT(cases); i++) if (cases[i].op == OP_fp8_matmul) check_case(&cases[i]), tried++;
    assert_true(tried >= 12);
}

#define LAWS(CASE) \
    CASE(fp8_matmul, by_tiles, BY_FP8(real_in(g, 5, 300), real_in(g, 7, 300), NULL, NULL, E4M3, E4M3, TILE, false)) \
    CASE(fp8_matmul, by_powers, BY_FP8(real_in(g, 5, 300), real_in(g, 7, 300), NULL, NULL, E4M3, E5M2, TILE, true)) \
    CASE(fp8_matmul, whole, BY_FP8(real_in(g, 5, 300), real_in(g, 7, 300), NULL, NULL, E4M3, E5M2, TENSOR, true)) \
    CASE(fp8_matmul, late, BY_FP8(real_in(g, 5, 300), real_in(g, 7, 300), NULL, real_in(g, 2, 3), E4M3, E5M2, \
         DELAYED, true)) \
    CASE(fp8_matmul, experts, BY_FP8(real_in(g, 9, 20), real_in(g, 3, 7, 20), int_in(g, SHAPE(4), 0, 3, 3, 7), NULL, \
         E4M3, E4M3, TILE, false))
LAWS(BENCH_BUILD)

/* A tile of zeros is zeros; a token beside one of 1e8 keeps its digits; NaN is seen in its tile alone. */
static void tiles_are_apart(void **state)
{
    (void)state;
    OPEN(b, fp8_matmul, by_tiles);
    bench_forward(&b);
    double *before = values_of(&b.work[X]);
    for (int64_t i = 0; i < 128; i++) tensor_set(&b.in[X], 300 + i, 0);
    for (int64_t i = 0; i < 300; i++) tensor_set(&b.in[X], 600 + i, 1e8);
    tensor_set(&b.in[X], 130, NAN);
    bench_forward(&b);
    for (int64_t i = 0; i < 1500; i++) {
        double got = tensor_get(&b.work[X], i);
        if (i / 300 == 2) continue;
        if (i == 130 ? !isnan(got) : i / 300 == 1 && i % 300 < 128 ? got != 0
            : (i < 128 || i > 255) && got != before[i])
            fail_msg("value %lld is %g", (long long)i, got);
    }
    free(before);
    bench_close(&b);
}

/* A factor of 2^k on x and on what arrives is one on all that follows, bit by bit, over many k. */
static void powers_pass_through(void **state)
{
    static const char *const names[] = { "by_tiles", "by_powers", "whole" };
    static const struct op_case laws[] = { LAWS(BENCH_CASE) };
    (void)state;
    for (int i = 0; i < COUNT(names); i++)
        for (int k = -40; k <= 40; k += 20) {
            struct bench one, two;
            bench_open(&one, &laws[i], false, 1);
            bench_open(&two, &laws[i], false, 1);
            for (int64_t j = 0; j < 1500; j++) tensor_set(&two.in[X], j, ldexp(tensor_get(&one.in[X], j), k));
            for (int64_t j = 0; j < 35; j++) tensor_set(&two.dout[0], j, ldexp(tensor_get(&one.dout[0], j), k));
            bench_forward(&one), bench_backward(&one);
            bench_forward(&two), bench_backward(&two);
            for (int64_t j = 0; j < 35; j++)
                if (tensor_get(&two.out[0], j) != ldexp(tensor_get(&one.out[0], j), k)) fail_msg("%s: y", names[i]);
            for (int64_t j = 0; j < 1500; j++)
                if (tensor_get(&two.din[X], j) != ldexp(tensor_get(&one.din[X], j), k)) fail_msg("%s: dx", names[i]);
            for (int64_t j = 0; j < 2100; j++)
                if (tensor_get(&two.din[W], j) != ldexp(tensor_get(&one.din[W], j), 2 * k))
                    fail_msg("%s: dw", names[i]);
            bench_close(&one);
            bench_close(&two);
        }
}

/* Columns of an expert's rows are scaled by that expert's rows alone, though 128 of them had room. */
static void experts_are_apart(void **state)
{
    (void)state;
    OPEN(b, fp8_matmul, experts);
    bench_forward(&b);
    bench_backward(&b);
    double *before = values_of(&b.din[W]);
    for (int64_t i = 0; i < 3 * 20; i++) tensor_set(&b.in[X], i, 1e6);
    for (int64_t i = 0; i < 3 * 7; i++) tensor_set(&b.dout[0], i, 1e6);
    bench_forward(&b);
    bench_backward(&b);
    for (int64_t i = 0; i < 3 * 140; i++)
        if ((i < 140) == (tensor_get(&b.din[W], i) == before[i])) fail_msg("value %lld", (long long)i);
    for (int64_t i = 140; i < 280; i++) assert_true(before[i] == 0);
    free(before);
    bench_close(&b);
}

/* Without a past a tensor is scaled by itself; with one, what is larger is cut. */
static void the_past_decides(void **state)
{
    (void)state;
    OPEN(now, fp8_matmul, whole);
    OPEN(late, fp8_matmul, late);
    PUT(late, HISTORY, 0, 0, 0, 0, 0, 0);
    bench_forward(&now), bench_backward(&now);
    bench_forward(&late), bench_backward(&late);
    same(&now.out[0], &late.out[0]);
    same(&now.out[1], &late.out[1]);
    same(&now.din[X], &late.din[X]);
    same(&now.din[W], &late.din[W]);
    PUT(late, HISTORY, 0.5, 64, 1, 0.25, 1, 2);
    bench_forward(&late);
    same(&now.out[1], &late.out[1]);
    double top = 0;
    for (int64_t i = 0; i < 1500; i++) top = fmax(top, fabs(tensor_get(&late.work[X], i)));
    assert_true(top == 448 * 0x1p-9);                       /* 0.5 has scale 2^-9 */
    bench_close(&now);
    bench_close(&late);
}

/* ---- the largest sizes ---- */

static void largest_of_micro_batches(void **state)
{
    (void)state;
    OPEN(b, gradient_amax, odd);
    for (int micro = 0; micro < 3; micro++) {
        b.step.micro = micro;
        if (micro == 0) bench_forward(&b);
        else bench_call(&b, b.kernels->forward);
        tensor_set(&b.dout[0], 4, micro == 1 ? -9 : 7);
        bench_backward(&b);
        assert_true(tensor_get(&b.out[1], 0) == (micro == 0 ? 7 : 9));
        same(&b.din[0], &b.dout[0]);
    }
    b.step.micro = 0;
    bench_call(&b, b.kernels->forward);
    assert_true(tensor_get(&b.out[1], 0) == 0);
    bench_close(&b);
}

static void a_ring_of_steps(void **state)
{
    (void)state;
    OPEN(b, amax_history, wraps);
    PUT(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    for (int step = 1; step <= 6; step++) {
        PUT(b, 1, 10 - step, step);
        PUT(b, 2, step % 2);
        PUT(b, 3, step);
        PUT(b, 4, 1, step != 5);                            /* which does not count */
        bench_forward(&b);
    }
    SEE(b.in[0], 0, 9, 1, 1, 4, 6, 0, 7, 3, 1, 6, 4, 0);    /* steps 1, 6, 3, 4 */
    SEE(b.out[0], 0, 9, 6, 1);
    bench_close(&b);
}

/* ---- in training ---- */

static double largest(const real *x, int64_t n)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)x[i]));
    return top;
}

static void delayed_in_training(void **state)
{
    static const char *const paths[] = { "layers.0.attention.q.weight", "layers.2.ffn.experts.up.weight" };
    (void)state;
    struct tiny t = tiny_new(NULL, TEXT({"fp8": {"module": "delayed", "history": 3, "gradient": "e5m2"}}), MODE_TRAIN,
                             2, 6);
    tiny_start(&t, 1);
    for (int step = 0; step < 5; step++)
        for (int i = 0; i < COUNT(paths); i++) {
            char past[96];
            snprintf(past, sizeof past, "fp8.%s", paths[i]);
            double top = largest(tiny_weight(&t, paths[i]), tiny_count(&t, paths[i]));
            if (i == 0) tiny_step_of(&t, step, 5);
            const real *history = tiny_weight(&t, past);
            if (i == 0 && (double)history[step % 3 * 3 + 1] != top) fail_msg("step %d: %s", step, past);
            assert_true(history[step % 3 * 3] > 0 && history[step % 3 * 3 + 2] > 0);
            assert_true(step > 1 || history[6] == 0);
        }
    tiny_free(&t);
}

/* The loss of a step, and of the one after it, is near that without; values are others. */
static void losses_are_near(void **state)
{
    static const char *const ways[] = {
        TEXT({}), TEXT({"fp8": "tile"}), TEXT({"fp8": {"module": "tile", "power_of_two": true}}),
        TEXT({"fp8": "tensor"}), TEXT({"fp8": {"module": "delayed", "gradient": "e5m2"}}),
        TEXT({"fp8": {"module": "tile", "roles": "ffn_up ffn_down"}})
    };
    double exact = 0;
    (void)state;
    for (int i = 0; i < COUNT(ways); i++) {
        struct tiny t = tiny_new(NULL, ways[i], MODE_TRAIN, 2, 6);
        tiny_start(&t, 1);
        for (int step = 0; step < 6; step++) tiny_step_of(&t, step, 6);
        double loss = tiny_loss(&t, "lm"), apart = fabs(loss - exact) / exact;
        if (i == 0) exact = loss;
        else if (!(apart > 1e-7 && apart < 0.02)) fail_msg("%s: a loss of %g, without %g", ways[i], loss, exact);
        tiny_free(&t);
    }
}

static bool loads(const char *train, char why[256], char built[256])
{
    struct tiny t = { 0 };
    json_t *model = tiny_json(&model_schema, tiny_base, NULL), *sets = tiny_json(&train_schema, "{}", train);
    bool legal = tiny_load(&t, model, sets, why);
    built[0] = 0;
    if (legal) {
        struct leaves *l = leaves_new();
        struct graph *g = graph_new(l);
        model_build(g, t.arena, &t.model, &t.train, MODE_TRAIN, (struct model_size){ .batch = 2, .seq = 6 });
        if (g->failed) snprintf(built, 256, "%.255s", g->err.text);
        graph_free(g);
        leaves_free(l);
    }
    arena_free(t.arena);
    json_decref(model);
    json_decref(sets);
    return legal && !built[0];
}

static void what_is_refused(void **state)
{
    static const struct { const char *train, *words; } cases_[] = {
        { TEXT({"fp8": {"module": "tile", "roles": "ffn_up ffn_dwn"}}),
          "train.fp8.roles = no role 'ffn_dwn' (did you mean 'ffn_down'?)" },
        { TEXT({"fp8": {"module": "tile", "roles": "router"}}), "'router': only products of hidden matrices" },
        { TEXT({"fp8": {"module": "tensor", "roles": "head"}}), "'head': only products of hidden matrices" },
        { TEXT({"fp8": {"module": "delayed", "forward": "none", "gradient": "none"}}), "no operand is FP8" },
        { TEXT({"fp8": {"module": "tile", "roles": "q latent_up"}}),
          "train.fp8.roles: 'latent_up': this model has no product of such a weight" },
        { TEXT({"fp8": {"module": "tile", "forward": "e3m4"}}), "e3m4" },
    };
    (void)state;
    for (int i = 0; i < COUNT(cases_); i++) {
        char why[256] = "", built[256];
        if (loads(cases_[i].train, why, built)) fail_msg("%s is accepted", cases_[i].train);
        if (!strstr(why, cases_[i].words) && !strstr(built, cases_[i].words))
            fail_msg("%s: expected '%s', got '%s%s'", cases_[i].train, cases_[i].words, why, built);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code), cmocka_unit_test(between_codes), cmocka_unit_test(error_of_normals),
        cmocka_unit_test(scales), cmocka_unit_test(products), cmocka_unit_test(tiles_are_apart),
        cmocka_unit_test(powers_pass_through), cmocka_unit_test(experts_are_apart), cmocka_unit_test(the_past_decides),
        cmocka_unit_test(largest_of_micro_batches), cmocka_unit_test(a_ring_of_steps),
        cmocka_unit_test(delayed_in_training), cmocka_unit_test(losses_are_near), cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests_name("fp8", tests, NULL, NULL);
}
