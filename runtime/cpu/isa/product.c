/* One block product on one thread. A tile of C stays in registers while some rows of A (broadcast) meet a panel of B
   (two vectors a step). Operands are read where they lie if that can be; else packed. Bound by fused multiply-adds. */
#include "product.h"
#include "vector.h"

#if defined __AVX512F__
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif defined __AVX2__
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#else
#define TILES(X) X(1) X(2) X(3) X(4)
#endif

#define ONE_MORE(rows) + 1
enum { COLS = 2 * LANES, ROWS = TILES(ONE_MORE), LINE = 64 / sizeof(real), AHEAD = 8 };

/* Packed rows of A are padded so that they do not share cache sets; packed columns are whole vectors. */
enum { PITCH = DEPTH + LINE, TALL = (ROWS + LANES - 1) / LANES * LANES };
static _Thread_local struct {
    _Alignas(64) real a[TALL * PITCH], b[DEPTH * MOST_COLS];
} packed;

/* ---- operands, as tiles read them ---- */

/* Value (i, p) of some rows of A is at i * line + p * step, one of which is 1. Value (p, j) of a panel of B is at p *
   pitch + j; the panel to be read next begins `next` values further on. */
struct left { const real *at; int64_t line, step; };
struct right { const real *at; int64_t pitch, next; };

/* Rows 4 KiB apart share the sets of the first-level cache. */
static bool lies_well(const struct matrix *a, int64_t uses)
{
    return a->format == FORMAT_REAL && (a->col != 1 || uses <= 2 || a->row * (int64_t)sizeof(real) % 4096 != 0);
}

static struct left left_of(const struct gemm *g, int64_t i, int64_t rows, int64_t from, int64_t k)
{
    struct matrix a = matrix_at(g->a, i, from);
    if (lies_well(&a, blocks_of(g->n, COLS))) return (struct left){ a.data, a.row, a.col };
    if (a.col == 1) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = 0; p < k; p += LANES)
                *(vec *)(packed.a + r * PITCH + p) = values(&a, r * a.row + p, k - p);
        return (struct left){ packed.a, PITCH, 1 };
    }
    for (int64_t p = 0; p < k; p++)
        for (int64_t r = 0; r < rows; r += LANES)
            *(vec *)(packed.a + p * TALL + r) = values(&a, p * a.col + r, g->m - i - r);
    return (struct left){ packed.a, 1, TALL };
}

/* out[p][j] = B[from + p, j] for COLS columns, zeros beyond n. */
static void pack_panel(const struct matrix *b, int64_t n, int64_t k, real *out)
{
    if (b->col == 1)
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < COLS; j += LANES) {
                prefetch(b, (p + AHEAD) * b->row + j);
                *(vec *)(out + p * COLS + j) = values(b, p * b->row + j, n - j);
            }
    else
        for (int64_t j = 0; j < COLS; j += LANES)
            for (int64_t p = 0; p < k; p += LANES) {
                vec v[LANES];
                UNROLLED for (int i = 0; i < LANES; i++) prefetch(b, (j + i + LANES) * b->col + p);
                UNROLLED for (int i = 0; i < LANES; i++) v[i] = values(b, (j + i) * b->col + p, i < n - j ? k - p : 0);
                transpose(v);
                UNROLLED for (int i = 0; i < LANES; i++) *(vec *)(out + (p + i) * COLS + j) = v[i];
            }
}

static struct right right_of(const struct gemm *g, int64_t j, int64_t from, int64_t k, bool first)
{
    struct matrix b = matrix_at(g->b, from, j);
    if (b.format == FORMAT_REAL && b.col == 1 && g->n - j >= COLS)
        return (struct right){ b.data, b.row, first && g->n - j >= 2 * COLS ? COLS : 0 };
    if (first) pack_panel(&b, g->n - j, k, packed.b + j * DEPTH);
    return (struct right){ packed.b + j * DEPTH, COLS, 0 };
}

/* Asks for a tile of C, and for share j of the rows of A that come after these. */
static void ask(const struct gemm *g, int64_t i, int64_t rows, int64_t j, int64_t from, int64_t k)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t at = 0; at < COLS; at += LINE) prefetch(&g->c, (i + r) * g->c.row + j + at);
    if (g->a.col != 1 || g->n < 4 * COLS) return;
    int64_t share = blocks_of(k, blocks_of(g->n, COLS)), first = j / COLS * share,
            end = first + share < k ? first + share : k;
    for (int64_t r = i + rows; r < i + 2 * rows && r < g->m; r++)
        for (int64_t p = first; p < end; p += LINE) prefetch(&g->a, r * g->a.row + from + p);
}

/* ---- tiles ---- */

/* C = A B or C + A B for rows x wide vectors, constants where this is expanded; unrolled, or the
   sums would lie in memory. */
INLINE void tile(int rows, int wide, int64_t k, const real *a, int64_t line, int64_t step, const struct right *right,
                 real *c, int64_t c_row, bool add)
{
    vec sum[ROWS][2];
    const real *a5 = a + 5 * line, *a10 = a + 10 * line, *b = right->at;    /* addresses are sums of two registers */
    int64_t pitch = right->pitch, next = right->next;
    UNROLLED for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = (vec){ 0 };
    for (int64_t p = 0; p < k; p++, b += pitch, a += step, a5 += step, a10 += step) {
        vec low = *(const loose *)b, high = wide == 2 ? *(const loose *)(b + LANES) : (vec){ 0 };
        for (int at = 0; at < COLS; at += LINE) __builtin_prefetch(b + next + at);
        UNROLLED for (int i = 0; i < rows; i++) {
            real left = i < 5 ? a[i * line] : i < 10 ? a5[(i - 5) * line] : a10[(i - 10) * line];
            sum[i][0] = multiply_add(splat(left), low, sum[i][0]);
            if (wide == 2) sum[i][1] = multiply_add(splat(left), high, sum[i][1]);
        }
    }
    UNROLLED for (int i = 0; i < rows; i++) {
        loose *to = (loose *)(c + i * c_row);
        to[0] = add ? to[0] + sum[i][0] : sum[i][0];
        if (wide == 2) to[1] = add ? to[1] + sum[i][1] : sum[i][1];
    }
}

typedef void tile_function(int64_t k, const struct left *a, const struct right *b, real *c, int64_t c_row, bool add);
#define TILE(name, rows, wide, line, step) \
    static void name(int64_t k, const struct left *a, const struct right *b, real *c, int64_t c_row, bool add) \
    { \
        tile(rows, wide, k, a->at, line, step, b, c, c_row, add); \
    }
#define FOUR(rows) \
    TILE(columns_##rows, rows, 1, 1, a->step) TILE(wide_columns_##rows, rows, 2, 1, a->step) \
    TILE(rows_##rows, rows, 1, a->line, 1) TILE(wide_rows_##rows, rows, 2, a->line, 1)
TILES(FOUR)
#define ENTRY(rows) { { columns_##rows, wide_columns_##rows }, { rows_##rows, wide_rows_##rows } },
static tile_function *const tile_of[][2][2] = { TILES(ENTRY) };     /* [rows - 1][A by rows][two vectors] */

static void tile_into(real *c, int64_t c_row, int64_t rows, int64_t cols, int64_t k, const struct left *a,
                      const struct right *b, bool add)
{
    tile_function *f = tile_of[rows - 1][a->step == 1][cols > LANES];
    if (cols >= COLS || cols == LANES) {
        f(k, a, b, c, c_row, add);
        return;
    }
    _Alignas(64) real whole[ROWS * COLS];                   /* in C, whole vectors would write into the next row */
    f(k, a, b, whole, COLS, false);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            c[i * c_row + j] = add ? c[i * c_row + j] + whole[i * COLS + j] : whole[i * COLS + j];
}

static void pass(const struct gemm *g, int64_t from, int64_t k, bool add)
{
    int64_t high = blocks_of(g->m, blocks_of(g->m, ROWS));  /* rows shared out evenly */
    for (int64_t i = 0; i < g->m; i += high) {
        int64_t rows = g->m - i < high ? g->m - i : high;
        struct left a = left_of(g, i, rows, from, k);
        for (int64_t j = 0; j < g->n; j += COLS) {
            struct right b = right_of(g, j, from, k, i == 0);
            ask(g, i, rows, j, from, k);
            tile_into((real *)g->c.data + i * g->c.row + j, g->c.row, rows, g->n - j, k, &a, &b, add);
        }
    }
}

void product(const struct gemm *g)
{
    if (g->beta == 0 && g->k == 0)
        for (int64_t i = 0; i < g->m; i++) memset((real *)g->c.data + i * g->c.row, 0, (size_t)g->n * sizeof(real));
    int64_t parts = blocks_of(g->k, DEPTH), step = parts ? blocks_of(blocks_of(g->k, parts), LANES) * LANES : 1;
    for (int64_t from = 0; from < g->k; from += step)
        pass(g, from, g->k - from < step ? g->k - from : step, g->beta != 0 || from > 0);
}

/* ---- transposed ---- */

enum { MOST_TRANSPOSED = 64 };
static _Thread_local _Alignas(64) real transposed[MOST_COLS * MOST_TRANSPOSED];

/* Packing the columns costs as much as some eight rows. */
bool transposed_pays(const struct gemm *g)
{
    int64_t empty = blocks_of(g->m, LANES) * LANES - g->m;
    return g->b.row == 1 && g->b.format == FORMAT_REAL && g->beta == 0 && g->k > 0 && g->n % LANES == 0 && g->m > 8 &&
           g->m <= MOST_TRANSPOSED && empty < 8;
}

void transposed_product(const struct gemm *g)
{
    product(&(struct gemm){ .m = g->n, .n = g->m, .k = g->k, .a = matrix_transposed(g->b), .b = matrix_transposed(g->a),
                            .c = matrix_reals(transposed, MOST_TRANSPOSED) });
    for (int64_t j = 0; j < g->n; j += LANES)
        for (int64_t i = 0; i < g->m; i += LANES) {
            vec v[LANES];
            UNROLLED for (int l = 0; l < LANES; l++) v[l] = *(const vec *)(transposed + (j + l) * MOST_TRANSPOSED + i);
            transpose(v);
            UNROLLED for (int l = 0; l < LANES; l++) if (i + l < g->m) *
                (loose *)((real *)g->c.data + (i + l) * g->c.row + j) = v[l];
        }
}
