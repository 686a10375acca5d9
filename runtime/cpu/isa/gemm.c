/* Cutting products into blocks, by shape. */
#include "product.h"

static _Thread_local struct panels panels;
static _Thread_local real narrow[MOST_ROWS * MOST_COLS];    /* a block of C that is stored as bf16 */

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

void gemm_here(const struct gemm *g)
{
    INVARIANT(g->c.format == FORMAT_REAL && g->c.col == 1, "a block product writes rows of reals");
    for (int64_t i = 0; i < g->m; i += MOST_ROWS)
        for (int64_t j = 0; j < g->n; j += MOST_COLS) {
            struct gemm p = part(g, i, least(g->m - i, MOST_ROWS), j, least(g->n - j, MOST_COLS));
            product(&p, &panels);
        }
}

/* One block. A narrow C gathers its sums in reals and is rounded once. */
static void block(const struct gemm *g)
{
    if (g->c.format == FORMAT_REAL) {
        product(g, &panels);
        return;
    }
    struct tensor c = { .data = g->c.data, .format = g->c.format };
    struct gemm wide = *g;
    wide.c = matrix_reals(narrow, MOST_COLS);
    if (g->beta != 0)
        for (int64_t i = 0; i < g->m; i++) row_widen(&c, i * g->c.row, g->n, narrow + i * MOST_COLS);
    product(&wide, &panels);
    for (int64_t i = 0; i < g->m; i++) row_narrow(&c, i * g->c.row, g->n, narrow + i * MOST_COLS);
}

struct cut { const struct gemm *g; int64_t rows, cols; };   /* of a block */

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

static int64_t blocks_in(const struct gemm *p, const struct cut *c) { return blocks_of(p->m, c->rows) * blocks_of(p->n, c->cols); }

/* Blocks [from, to) of all groups, which are numbered one after the other. */
static void blocks(const struct args *a, int64_t from, int64_t to)
{
    const struct cut *c = a->attr;
    int64_t first = 0;
    for (int e = 0; e <= c->g->groups && first < to; e++) {
        struct gemm p = group(c->g, e);
        int64_t n = blocks_in(&p, c), wide = blocks_of(p.n, c->cols), high = n ? blocks_of(p.m, n / wide) : 0;
        for (int64_t at = from > first ? from - first : 0; at < least(n, to - first); at++) {
            int64_t i = at / wide * high, j = at % wide * c->cols;
            struct gemm one = part(&p, i, least(p.m - i, high), j, least(p.n - j, c->cols));
            block(&one);
        }
        first += n;
    }
}

/* Large blocks pack their operands less often; at least some tens of blocks share out evenly. */
static struct cut cut_of(const struct gemm *g)
{
    enum { ENOUGH = 8, FEW_ROWS = 96, FEW_COLS = 128 };
    struct cut c = { g, MOST_ROWS, MOST_COLS };
    int64_t m = g->cut == GEMM_ROWS ? blocks_of(g->m, g->groups) : g->m;
    while (g->groups * blocks_of(m, c.rows) * blocks_of(g->n, c.cols) < ENOUGH && (c.rows > FEW_ROWS || c.cols > FEW_COLS))
        if (c.cols > FEW_COLS && c.cols >= c.rows) c.cols /= 2;
        else c.rows /= 2;
    return c;
}

void gemm(const struct args *a, const struct gemm *g)
{
    int32_t whole[] = { 0, (int32_t)g->m };
    struct gemm dense = *g;
    if (!g->offsets) {
        dense.groups = 1;
        dense.cut = GEMM_ROWS;
        dense.offsets = whole;
    }
    struct cut c = cut_of(&dense);
    int64_t total = 0;
    for (int e = 0; e <= dense.groups; e++) {
        struct gemm p = group(&dense, e);
        total += blocks_in(&p, &c);
    }
    struct args with = *a;
    with.attr = &c;
    each(&with, total, 1, blocks);
}

size_t packed_bytes(struct shape weight, int64_t rows, enum format act)
{
    (void)weight; (void)rows; (void)act;
    return 0;
}

void pack(const struct args *a, const struct tensor *weight)
{
    (void)a; (void)weight;
}
