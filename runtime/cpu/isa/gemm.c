/* Cutting products into blocks, by shape. */
#include "product.h"

static _Thread_local real sums[MOST_ROWS * MOST_COLS];      /* a block of C that is stored as bf16 */

/* Rows [i, i+m) and columns [j, j+n) of C. */
static struct gemm part(const struct gemm *g, int64_t i, int64_t m, int64_t j, int64_t n)
{
    struct gemm p = *g;
    p.m = m;
    p.n = n;
    p.a = matrix_at(g->a, i, 0);
    p.b = matrix_at(g->b, 0, j);
    p.c = matrix_at(g->c, i, j);
    return p;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void multiply(const struct gemm *g)
{
    dot_product *unit = g->narrow ? dot_in_use : NULL;
    if (unit && g->k > 0) narrow_product(g, unit);
    else if (transposed_pays(g)) transposed_product(g);
    else product(g);
}

/* One block. A narrow C gathers its sums in reals and is rounded once. */
static void block(const struct gemm *g)
{
    if (g->c.format == FORMAT_REAL) {
        multiply(g);
        return;
    }
    struct tensor c = { .data = g->c.data, .format = g->c.format };
    struct gemm wide = *g;
    wide.c = matrix_reals(sums, MOST_COLS);
    if (g->beta != 0)
        for (int64_t i = 0; i < g->m; i++) row_widen(&c, i * g->c.row, g->n, sums + i * MOST_COLS);
    multiply(&wide);
    for (int64_t i = 0; i < g->m; i++) row_narrow(&c, i * g->c.row, g->n, sums + i * MOST_COLS);
}

void gemm_here(const struct gemm *g)
{
    INVARIANT(g->c.col == 1, "a product writes rows");
    for (int64_t i = 0; i < g->m; i += MOST_ROWS)
        for (int64_t j = 0; j < g->n; j += MOST_COLS) {
            struct gemm p = part(g, i, least(g->m - i, MOST_ROWS), j, least(g->n - j, MOST_COLS));
            block(&p);
        }
}

/* Blocks of all groups are numbered one after the other; first[e] is the number of the first block of group e. */
struct cut { const struct gemm *g; int64_t rows, cols, *first; };

/* The product of group e; e = groups: the rows that belong to none, a product of depth 0. */
static struct gemm group(const struct gemm *g, int e)
{
    int64_t from = g->offsets[e], to = e < g->groups ? g->offsets[e + 1] : g->m;
    struct gemm p = *g;
    if (g->cut == GEMM_ROWS) {
        p = part(g, from, to - from, 0, g->n);
        p.b = matrix_moved(p.b, e * g->b.stack);
        if (e == g->groups) p.k = 0;
    } else if (e == g->groups) {
        p.m = 0;
    } else {
        p.k = to - from;
        p.a = matrix_at(g->a, 0, from);
        p.b = matrix_at(g->b, from, 0);
        p.c = matrix_moved(g->c, e * g->c.stack);
    }
    return p;
}

static void blocks(const struct args *a, int64_t from, int64_t to)
{
    const struct cut *c = a->attr;
    int64_t wide = blocks_of(c->g->n, c->cols);
    for (int e = 0; from < to; e++) {
        if (from >= c->first[e + 1]) continue;
        struct gemm p = group(c->g, e);
        int64_t high = blocks_of(p.m, (c->first[e + 1] - c->first[e]) / wide);      /* rows shared out evenly */
        for (; from < least(to, c->first[e + 1]); from++) {
            int64_t at = from - c->first[e], i = at / wide * high, j = at % wide * c->cols;
            struct gemm one = part(&p, i, least(p.m - i, high), j, least(p.n - j, c->cols));
            if (c->g->b.packed) one.b.packed = packed_part(c->g, e, j);
            block(&one);
        }
    }
}

/* Large blocks pack their operands less often; some blocks more share out evenly. */
static struct cut cut_of(const struct gemm *g)
{
    enum { ENOUGH = 8, LEAST_ROWS = 96, LEAST_COLS = 128 };
    struct cut c = { .g = g, .rows = MOST_ROWS, .cols = MOST_COLS };
    int64_t m = g->cut == GEMM_ROWS ? blocks_of(g->m, g->groups) : g->m;
    while (g->groups * blocks_of(m, c.rows) * blocks_of(g->n, c.cols) < ENOUGH &&
           (c.rows > LEAST_ROWS || c.cols > LEAST_COLS))
        if (c.cols > LEAST_COLS && c.cols >= c.rows) c.cols /= 2;
        else c.rows /= 2;
    return c;
}

static void grouped(const struct args *a, const struct gemm *g)
{
    int64_t first[g->groups + 2];
    struct cut c = cut_of(g);
    c.first = first;
    first[0] = 0;
    for (int e = 0; e <= g->groups; e++) {
        int64_t m = g->cut == GEMM_DEPTH ? (e < g->groups ? g->m : 0)
                                         : (e < g->groups ? g->offsets[e + 1] : g->m) - g->offsets[e];
        first[e + 1] = first[e] + blocks_of(m, c.rows) * blocks_of(g->n, c.cols);
    }
    struct args with = *a;
    with.attr = &c;
    each(&with, first[g->groups + 1], 1, blocks);
}

void gemm(const struct args *a, const struct gemm *g)
{
    if (g->offsets) {
        grouped(a, g);
        return;
    }
    struct gemm one = *g;
    one.groups = 1;
    one.cut = GEMM_ROWS;
    one.offsets = (int32_t[]){ 0, (int32_t)g->m };
    grouped(a, &one);
}
