/* The product itself: tiles of D, each value one sum over k in order, so that bits depend on the shapes alone. */
#include "cublaslt_product.h"
#include "narrow.h"
#include "ptxhost.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS = 16, COLS = 6 };
typedef float column __attribute__((vector_size(ROWS * sizeof(float))));

static float load(const char *data, int64_t at, uint32_t type)
{
    if (type == CUDA_R_32F) return ((const float *)(const void *)data)[at];
    uint16_t half = ((const uint16_t *)(const void *)data)[at];
    return type == CUDA_R_16BF ? bf16_widen(half) : f16_widen(half);
}

static void store(char *data, int64_t at, uint32_t type, float x)
{
    if (type == CUDA_R_32F) ((float *)(void *)data)[at] = x;
    else ((uint16_t *)(void *)data)[at] = type == CUDA_R_16BF ? bf16_narrow(x) : f16_narrow(x);
}

static float rounded(float x, uint32_t type)
{
    return type == CUDA_R_32F ? x : type == CUDA_R_16BF ? bf16_widen(bf16_narrow(x)) : f16_widen(f16_narrow(x));
}

/* A matrix: its data and the steps to the next row and column, which a transposition swaps. */
struct view { char *data; int64_t row, col; uint32_t type; };

static struct view view(const struct operand *o, int batch, bool transposed)
{
    bool adjacent_rows = in_rows(&o->l) == transposed;
    return (struct view){ ph_storage(line_at(o, batch, 0)), adjacent_rows ? 1 : o->l.ld, adjacent_rows ? o->l.ld : 1, o->l.type };
}

/* to [k][width]: `count` rows of v from `from`, then zeroes. Jitter visits k backwards from another place. */
static void pack(float *to, int64_t width, const struct view *v, int64_t from, int64_t count, int64_t k, bool tf32)
{
    int64_t start = ph_jitter() ? ph_jitter() % k : -1;
    for (int64_t p = 0; p < k; p++, to += width) {
        int64_t at = from * v->row + (start < 0 ? p : (start + k - p) % k) * v->col;
        for (int64_t r = 0; r < count; r++) to[r] = load(v->data, at + r * v->row, v->type);
        for (int64_t r = count; r < width; r++) to[r] = 0;
        if (tf32) for (int64_t r = 0; r < count; r++) to[r] = tf32_round(to[r]);
    }
}

/* sum [COLS][ROWS] over p in [from, to) of a [p][ROWS] and b [p][COLS]. */
#if defined(__x86_64__) && !defined(__clang__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void tile(float *sum, const float *a, const float *b, int64_t from, int64_t to)
{
    column s[COLS] = { { 0 } };
    for (int64_t p = from; p < to; p++) {
        column x;
        memcpy(&x, a + p * ROWS, sizeof x);
        for (int j = 0; j < COLS; j++) s[j] += x * b[p * COLS + j];
    }
    memcpy(sum, s, sizeof s);
}

/* Parts of k, where the algorithm has them, are added as its scheme keeps them: as floats, or in the type of D. */
static void tile_in_parts(float *sum, const float *a, const float *b, int64_t k, const struct product *p)
{
    float part[COLS * ROWS];
    uint32_t kept = p->algo.scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE ? (uint32_t)CUDA_R_32F : p->m[D].l.type;
    tile(sum, a, b, 0, k / p->algo.parts);
    for (int s = 1; s < p->algo.parts; s++) {
        tile(part, a, b, k * s / p->algo.parts, k * (s + 1) / p->algo.parts);
        for (int i = 0; i < COLS * ROWS; i++) sum[i] = rounded(sum[i], kept) + rounded(part[i], kept);
    }
}

struct epilogue { float alpha, beta; struct view c; const char *bias; uint32_t function; };

static float finish(const struct epilogue *e, float sum, int64_t row, int64_t col)
{
    float x = e->alpha * sum;
    if (e->beta != 0) x += e->beta * load(e->c.data, row * e->c.row + col * e->c.col, e->c.type);
    if (e->bias) x += load(e->bias, row, e->c.type);
    if (e->function & CUBLASLT_EPILOGUE_RELU) x = x < 0 ? 0 : x;
    if (e->function & CUBLASLT_EPILOGUE_GELU) x = 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    return x;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* left [m/ROWS][k][ROWS] holds all of A, right [k][COLS] some columns of B. */
static void multiply(const struct product *p, int batch, struct epilogue e, float *left, float *right)
{
    bool at = p->op.trans_a != CUBLAS_OP_N, bt = p->op.trans_b != CUBLAS_OP_N, tf32 = p->op.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    int64_t m = (int64_t)p->m[D].l.rows, n = (int64_t)p->m[D].l.cols, k = (int64_t)depth(p);
    struct view a = view(&p->m[A], batch, at), b = view(&p->m[B], batch, !bt), d = view(&p->m[D], batch, false);
    float sum[COLS * ROWS];
    e.c = view(&p->m[C], batch, false);
    e.bias = has_bias(p) ? ph_storage(p->op.bias) + batch * p->op.bias_stride * cublaslt_size(d.type) : NULL;
    for (int64_t i = 0; i < m; i += ROWS) pack(left + i * k, ROWS, &a, i, smaller(ROWS, m - i), k, tf32);
    for (int64_t j = 0; j < n; j += COLS) {
        pack(right, COLS, &b, j, smaller(COLS, n - j), k, tf32);
        for (int64_t i = 0; i < m; i += ROWS) {
            tile_in_parts(sum, left + i * k, right, k, p);
            for (int64_t col = j; col < smaller(j + COLS, n); col++)
                for (int64_t row = i; row < smaller(i + ROWS, m); row++)
                    store(d.data, row * d.row + col * d.col, d.type, finish(&e, sum[(col - j) * ROWS + row - i], row, col));
        }
    }
}

void cublaslt_multiply(const struct product *p, float alpha, float beta)
{
    uint64_t left = (p->m[D].l.rows + ROWS - 1) / ROWS * ROWS * depth(p);
    float *panels = malloc((left + COLS * depth(p)) * sizeof *panels);
    for (int b = 0; b < p->m[D].l.batch; b++)
        multiply(p, b, (struct epilogue){ .alpha = alpha, .beta = beta, .function = p->op.epilogue }, panels, panels + left);
    free(panels);
}
