/* One block product on one thread. Both operands are packed; a tile of C stays in registers while a row panel of A
   (broadcast) meets a panel of B (two vectors a step). Bound by fused multiply-adds once n is some hundred. */
#include "product.h"
#if defined __FMA__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { BYTES = 64 };
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif defined __AVX2__
enum { BYTES = 32 };
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#else
enum { BYTES = 16 };
#define TILES(X) X(1) X(2) X(3) X(4)
#endif

#define ONE_MORE(rows) + 1
enum { LANES = BYTES / sizeof(real), COLS = 2 * LANES, ROWS = TILES(ONE_MORE), AHEAD = 8 };
#define INLINE static inline __attribute__((always_inline))

typedef real vec __attribute__((vector_size(BYTES)));
typedef real loose __attribute__((vector_size(BYTES), aligned(sizeof(real))));
typedef float single __attribute__((vector_size(4 * LANES)));
typedef uint32_t word __attribute__((vector_size(4 * LANES)));
typedef uint16_t half __attribute__((vector_size(2 * LANES)));

/* a * b + c, rounded once where the instruction set can; never left to the compiler, so that a value's bits do not depend
   on the shape of its tile. */
INLINE vec multiply_add(real a, vec b, vec c)
{
    vec all = a - (vec){ 0 };
#if defined __AVX512F__ && defined SLUICE_DOUBLE
    return (vec)_mm512_fmadd_pd((__m512d)all, (__m512d)b, (__m512d)c);
#elif defined __AVX512F__
    return (vec)_mm512_fmadd_ps((__m512)all, (__m512)b, (__m512)c);
#elif defined __FMA__ && defined SLUICE_DOUBLE
    return (vec)_mm256_fmadd_pd((__m256d)all, (__m256d)b, (__m256d)c);
#elif defined __FMA__
    return (vec)_mm256_fmadd_ps((__m256)all, (__m256)b, (__m256)c);
#else
    return all * b + c;
#endif
}

/* Asks for a cache line in time: operands come from far away in short pieces, which the processor does not foresee. */
INLINE void soon(const struct matrix *m, int64_t at)
{
    __builtin_prefetch((const char *)m->data + at * (m->format == FORMAT_BF16 ? 2 : (int64_t)sizeof(real)));
}

/* n values from `at`, zeros beyond. */
INLINE vec values(const struct matrix *m, int64_t at, int64_t n)
{
    if (n <= 0) return (vec){ 0 };
    if (m->format == FORMAT_BF16) {
        half h = { 0 };
        memcpy(&h, (const uint16_t *)m->data + at, n >= LANES ? sizeof h : (size_t)n * 2);
        return __builtin_convertvector((single)(__builtin_convertvector(h, word) << 16), vec);
    }
    vec v = { 0 };
    if (n >= LANES) return *(const loose *)((const real *)m->data + at);
    memcpy(&v, (const real *)m->data + at, (size_t)n * sizeof(real));
    return v;
}

/* Transposes LANES x LANES values: at distance s, lanes with bit s change places with lanes without it in the vector
   s further on. */
#define LOW(lane, s) ((lane) & (s) ? (lane) - (s) + LANES : (lane))
#define HIGH(lane, s) ((lane) & (s) ? (lane) + LANES : (lane) + (s))
#define LIST2(f, s) f(0, s), f(1, s)
#define LIST4(f, s) LIST2(f, s), f(2, s), f(3, s)
#define LIST8(f, s) LIST4(f, s), f(4, s), f(5, s), f(6, s), f(7, s)
#define LIST16(f, s) LIST8(f, s), f(8, s), f(9, s), f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#define SWAP(list, s) \
    for (int i = 0; i < LANES; i++) \
        if (!(i & (s))) { \
            vec x = v[i], y = v[i + (s)]; \
            v[i] = __builtin_shufflevector(x, y, list(LOW, s)); \
            v[i + (s)] = __builtin_shufflevector(x, y, list(HIGH, s)); \
        }
#if defined __AVX512F__ && !defined SLUICE_DOUBLE
#define TRANSPOSE SWAP(LIST16, 8) SWAP(LIST16, 4) SWAP(LIST16, 2) SWAP(LIST16, 1)
#elif defined __AVX512F__ || (defined __AVX2__ && !defined SLUICE_DOUBLE)
#define TRANSPOSE SWAP(LIST8, 4) SWAP(LIST8, 2) SWAP(LIST8, 1)
#elif defined __AVX2__ || !defined SLUICE_DOUBLE
#define TRANSPOSE SWAP(LIST4, 2) SWAP(LIST4, 1)
#else
#define TRANSPOSE SWAP(LIST2, 1)
#endif

/* out[c * pitch + r] = line r, value c, for LANES x LANES of them; zeros beyond `lines` and `count`. */
INLINE void turn(const struct matrix *m, int64_t at, int64_t stride, int64_t lines, int64_t count, real *out, int64_t pitch)
{
    vec v[LANES];
    for (int i = 0; i < LANES; i++) soon(m, at + (i + LANES) * stride);
    for (int i = 0; i < LANES; i++) v[i] = values(m, at + i * stride, i < lines ? count : 0);
    TRANSPOSE
    for (int i = 0; i < LANES; i++) *(vec *)(out + i * pitch) = v[i];
}

/* out[i][p] = A[i, from + p], rows PITCH apart. */
static void pack_a(const struct matrix *a, int64_t m, int64_t from, int64_t k, real *out)
{
    if (a->col == 1)
        for (int64_t i = 0; i < m; i++)
            for (int64_t p = 0; p < k; p += LANES) *(vec *)(out + i * PITCH + p) = values(a, i * a->row + from + p, k - p);
    else
        for (int64_t p = 0; p < k; p += LANES)
            for (int64_t i = 0; i < m; i += LANES)
                turn(a, (from + p) * a->col + i, a->col, k - p, m - i, out + i * PITCH + p, PITCH);
}

/* Panels of COLS columns, DEPTH * COLS apart: out[p][j] = B[from + p, j], zeros beyond n. */
static void pack_b(const struct matrix *b, int64_t n, int64_t from, int64_t k, real *out)
{
    int64_t whole = blocks_of(n, COLS) * COLS;
    if (b->col == 1)
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < whole; j += LANES) {
                soon(b, (from + p + AHEAD) * b->row + j);
                *(vec *)(out + j / COLS * (DEPTH * COLS) + j % COLS + p * COLS) = values(b, (from + p) * b->row + j, n - j);
            }
    else
        for (int64_t j = 0; j < whole; j += LANES)
            for (int64_t p = 0; p < k; p += LANES)
                turn(b, j * b->col + from + p, b->col, n - j, k - p, out + j / COLS * (DEPTH * COLS) + j % COLS + p * COLS, COLS);
}

/* C = A B or C + A B for `rows` rows, a constant where this is expanded. */
INLINE void tile(int rows, int64_t k, const real *a, const real *b, real *c, int64_t pitch, bool add)
{
    vec sum[ROWS][2];
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = (vec){ 0 };
    for (int64_t p = 0; p < k; p++, b += COLS) {
        vec left = *(const vec *)b, right = *(const vec *)(b + LANES);
        for (int i = 0; i < rows; i++) {
            sum[i][0] = multiply_add(a[i * PITCH + p], left, sum[i][0]);
            sum[i][1] = multiply_add(a[i * PITCH + p], right, sum[i][1]);
        }
    }
    for (int i = 0; i < rows; i++) {
        loose *to = (loose *)(c + i * pitch);
        to[0] = add ? to[0] + sum[i][0] : sum[i][0];
        to[1] = add ? to[1] + sum[i][1] : sum[i][1];
    }
}

#define TILE(rows) \
    static void tile_##rows(int64_t k, const real *a, const real *b, real *c, int64_t pitch, bool add) \
    { \
        tile(rows, k, a, b, c, pitch, add); \
    }
TILES(TILE)
#define ENTRY(rows) tile_##rows,
static void (*const tile_of[])(int64_t k, const real *a, const real *b, real *c, int64_t pitch, bool add) = { TILES(ENTRY) };

/* A tile at the right edge of C, where whole vectors would write into the next row. */
static void edge(int64_t rows, int64_t cols, int64_t k, const real *a, const real *b, real *c, int64_t pitch, bool add)
{
    _Alignas(64) real whole[ROWS * COLS];
    tile_of[rows - 1](k, a, b, whole, COLS, false);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) c[i * pitch + j] = (add ? c[i * pitch + j] : 0) + whole[i * COLS + j];
}

static void tiles(const struct gemm *g, const struct panels *panels, int64_t k, bool add)
{
    int64_t high = blocks_of(g->m, blocks_of(g->m, ROWS));  /* rows shared out evenly */
    for (int64_t i = 0; i < g->m; i += high) {
        int64_t rows = g->m - i < high ? g->m - i : high;
        real *c = (real *)g->c.data + i * g->c.row;
        for (int64_t j = 0; j < g->n; j += COLS) {
            const real *a = panels->a + i * PITCH, *b = panels->b + j * DEPTH;
            if (g->n - j >= COLS) tile_of[rows - 1](k, a, b, c + j, g->c.row, add);
            else edge(rows, g->n - j, k, a, b, c + j, g->c.row, add);
        }
    }
}

void product(const struct gemm *g, struct panels *panels)
{
    if (g->beta == 0 && g->k == 0)
        for (int64_t i = 0; i < g->m; i++) memset((real *)g->c.data + i * g->c.row, 0, (size_t)g->n * sizeof(real));
    int64_t parts = blocks_of(g->k, DEPTH), step = parts ? blocks_of(blocks_of(g->k, parts), LANES) * LANES : 1;
    for (int64_t from = 0; from < g->k; from += step) {
        int64_t k = g->k - from < step ? g->k - from : step;
        pack_a(&g->a, g->m, from, k, panels->a);
        pack_b(&g->b, g->n, from, k, panels->b);
        tiles(g, panels, k, g->beta != 0 || from > 0);
    }
}
