/* One block product of operands rounded to bf16, where the instruction set has a dot product for them, and the packing
   of weights for it. Pairs of neighbouring depths are one word from here on. */
#include "product.h"
#include "vector.h"

static int64_t padded(int64_t n, int64_t to) { return blocks_of(n, to) * to; }

/* ---- packed weights ---- */

/* [N,K] or a stack of them. */
/* The panels of all matrices as x w^T reads them, then as dy w does: column j, at depth p, of matrix e. */
static uint16_t *packed_at(const void *packed, struct stack s, bool transposed, int64_t e, int64_t j, int64_t p)
{
    int64_t deep = padded(transposed ? s.columns : s.rows, DOT_DEPTH),
            one = padded(s.rows, DOT_COLS) * padded(s.columns, DOT_COLS);
    return (uint16_t *)packed + (transposed ? e : s.matrices + e) * one + j * deep + p * DOT_COLS;
}

const void *packed_part(const struct gemm *g, int e, int64_t j)
{
    struct stack s = { g->groups, g->b.transposed ? g->n : g->k, g->b.transposed ? g->k : g->n };
    return packed_at(g->b.packed, s, g->b.transposed, e, j, 0);
}

/* Only weights of bf16 training are packed: they must be rounded in any case, once for all micro-batches. For reals it
   does not pay, because a product reads or packs them at less cost than they are read and written once more. */
size_t packed_bytes(struct shape weight, enum format act)
{
    if (act != FORMAT_BF16 || !dot_in_use || weight.rank < 2) return 0;
    struct stack s = shape_stack(weight);
    return 2 * (size_t)(s.matrices * padded(s.rows, DOT_COLS) * padded(s.columns, DOT_COLS)) * sizeof(uint16_t);
}

#ifdef SLUICE_DOUBLE

void pack(const struct args *a, const struct tensor *weight)
{
    INVARIANT(!a && !weight, "doubles are not rounded to bf16");
}

void narrow_product(const struct gemm *g, dot_product *unit)
{
    INVARIANT(!g && !unit, "doubles are not rounded to bf16");
}

void narrow_rows(const struct matrix *a, int64_t m, int64_t k, int64_t pitch, uint16_t *out)
{
    INVARIANT(!a && !m && !k && !pitch && !out, "doubles are not rounded to bf16");
}

void narrow_panel(const struct matrix *b, int64_t n, int64_t k, uint16_t *out)
{
    INVARIANT(!b && !n && !k && !out, "doubles are not rounded to bf16");
}

#else

/* One pass takes SPAN depths; rows of A are packed some at a time, and padded so that they do not share cache sets. */
enum { SPAN = 512, CHUNK = 128, PITCH = SPAN + DOT_DEPTH, PAIRS = 2 * LANES };
static _Thread_local struct { _Alignas(64) uint16_t a[CHUNK * PITCH], b[SPAN * MOST_COLS]; } packed;

/* ---- packing ---- */

/* n values in the low halves of words, zeros beyond: rounded to nearest, ties to even; NaN stays NaN. */
INLINE word rounded(const struct matrix *m, int64_t at, int64_t n)
{
    vec v = values(m, at, n);
    word bits = (word)v, nan = (word)(v != v);
    if (m->format == FORMAT_BF16) return bits >> 16;
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16 & ~nan) | ((bits >> 16 | 0x40) & nan);
}

/* 2 * LANES values of one line; LANES values of two lines `stride` apart. */
INLINE vec along(const struct matrix *m, int64_t at, int64_t n)
{
    vec v;
    half h[] = { __builtin_convertvector(rounded(m, at, n), half),
                 __builtin_convertvector(rounded(m, at + LANES, n - LANES), half) };
    memcpy(&v, h, sizeof v);
    return v;
}
INLINE vec across(const struct matrix *m, int64_t at, int64_t stride, int64_t lines, int64_t n)
{
    return (vec)(rounded(m, at, lines > 0 ? n : 0) | rounded(m, at + stride, lines > 1 ? n : 0) << 16);
}

void narrow_rows(const struct matrix *a, int64_t m, int64_t k, int64_t pitch, uint16_t *out)
{
    for (int64_t p = 0; p < padded(k, DOT_DEPTH); p += PAIRS)
        if (a->col == 1)
            for (int64_t i = 0; i < m; i++) *(loose *)(out + i * pitch + p) = along(a, i * a->row + p, k - p);
        else
            for (int64_t i = 0; i < m; i += LANES) {
                vec v[LANES];
                UNROLLED for (int l = 0; l < LANES; l++)
                    v[l] = across(a, (p + 2 * l) * a->col + i, a->col, k - p - 2 * l, m - i);
                transpose(v);
                UNROLLED for (int l = 0; l < LANES; l++) *(loose *)(out + (i + l) * pitch + p) = v[l];
            }
}

/* out[p/2][j][p%2] */
void narrow_panel(const struct matrix *b, int64_t n, int64_t k, uint16_t *out)
{
    for (int64_t j = 0; j < DOT_COLS; j += LANES)
        for (int64_t p = 0; p < padded(k, DOT_DEPTH); p += b->col == 1 ? 2 : PAIRS)
            if (b->col == 1) *(loose *)(out + p * DOT_COLS + 2 * j) = across(b, p * b->row + j, b->row, k - p, n - j);
            else {
                vec v[LANES];
                UNROLLED for (int l = 0; l < LANES; l++) prefetch(b, (j + l + LANES) * b->col + p);
                UNROLLED for (int l = 0; l < LANES; l++) v[l] = along(b, (j + l) * b->col + p, l < n - j ? k - p : 0);
                transpose(v);
                UNROLLED for (int l = 0; l < LANES; l++) *(loose *)(out + (p + 2 * l) * DOT_COLS + 2 * j) = v[l];
            }
}

/* ---- the product ---- */

/* In place if the rows are bf16, need no padding, and do not share cache sets. */
static const uint16_t *rows_of(const struct matrix *a, int64_t m, int64_t k, int64_t *pitch)
{
    *pitch = a->row;
    if (a->format == FORMAT_BF16 && a->col == 1 && k % DOT_DEPTH == 0 && a->row * 2 % 2048 != 0) return a->data;
    *pitch = PITCH;
    narrow_rows(a, m, k, PITCH, packed.a);
    return packed.a;
}

void narrow_product(const struct gemm *g, dot_product *unit)
{
    int64_t deep = padded(g->k, DOT_DEPTH), step = padded(blocks_of(g->k, blocks_of(g->k, SPAN)), DOT_DEPTH);
    for (int64_t from = 0; from < g->k; from += step) {
        int64_t k = g->k - from < step ? g->k - from : step, panel = g->b.packed ? deep * DOT_COLS : SPAN * DOT_COLS;
        const uint16_t *right = g->b.packed ? (const uint16_t *)g->b.packed + from * DOT_COLS : packed.b;
        for (int64_t j = 0; j < g->n && !g->b.packed; j += DOT_COLS) {
            struct matrix b = matrix_at(g->b, from, j);
            narrow_panel(&b, g->n - j, k, packed.b + j * SPAN);
        }
        for (int64_t i = 0; i < g->m; i += CHUNK) {
            struct matrix a = matrix_at(g->a, i, from);
            int64_t m = g->m - i < CHUNK ? g->m - i : CHUNK, pitch;
            const uint16_t *left = rows_of(&a, m, k, &pitch);
            unit(m, g->n, padded(k, DOT_DEPTH), left, pitch, right, panel, (real *)g->c.data + i * g->c.row, g->c.row,
                 g->beta != 0 || from > 0);
        }
    }
}

/* ---- weights ---- */

/* DOT_COLS rows of one matrix: columns of B = w^T, and so many depths of B = w. */
static void pack_some(const struct args *a, int64_t from, int64_t to)
{
    const struct tensor *weight = a->attr;
    struct stack s = shape_stack(weight->shape);
    int64_t high = blocks_of(s.rows, DOT_COLS);
    for (; from < to; from++) {
        int64_t e = from / high, i = from % high * DOT_COLS, rows = s.rows - i < DOT_COLS ? s.rows - i : DOT_COLS;
        struct matrix w = matrix_at(matrix_of(weight, s.columns), e * s.rows + i, 0), transposed = matrix_transposed(w);
        narrow_panel(&transposed, rows, s.columns, packed_at(weight->packed, s, true, e, i, 0));
        for (int64_t j = 0; j < s.columns; j += DOT_COLS) {
            struct matrix b = matrix_at(w, 0, j);
            narrow_panel(&b, s.columns - j, rows, packed_at(weight->packed, s, false, e, j, i));
        }
    }
}

void pack(const struct args *a, const struct tensor *weight)
{
    struct stack s = shape_stack(weight->shape);
    struct args with = *a;
    with.attr = weight;
    each(&with, s.matrices * blocks_of(s.rows, DOT_COLS), 1, pack_some);
}

#endif
