/* y = x w^T of a frozen w that is kept in NF4 (base/nf4.h), dense and of experts, as QLoRA multiplies (Dettmers 2023).
   Values are made a tile at a time, in the cache, and meet up to ROWS rows there; products and sums are those of matmul
   in the plan's precision. Backward makes the same tiles: dx = dy w. */
#define VERBS "graph/ops/products.h"
#include "op.h"
#include "base/nf4.h"
#include "cpu/gemm.h"

enum { X, CODES, OFFSETS };
enum { ROWS = 256, WIDE = 64, DEEP = 256 };                 /* of a block of y; of the inner extent at a time */

VERB struct node *nf4_matmul(struct graph *g, struct node *x, struct node *codes, struct node *offsets,
                             struct nf4_attr a)
{
    return graph_emit(g, &op_nf4_matmul, &a, x, codes, offsets);
}

static int64_t matrices(const struct nf4_attr *at) { return at->experts ? at->experts : 1; }

static int infer(struct node *n, struct err *e)
{
    const struct nf4_attr *at = n->attr;
    struct shape x = n->in[X]->shape;
    int64_t bytes = nf4_places((enum kept_as)at->kept, matrices(at) * at->n * at->k).bytes;
    if (x.dim[1] != at->k)
        return err_set(e, "rows of %lld values meet a matrix of %lld columns", (long long)x.dim[1], (long long)at->k);
    if (n->in[CODES]->shape.dim[0] != bytes)
        return err_set(e, "codes are %lld bytes, not %lld", (long long)bytes, (long long)n->in[CODES]->shape.dim[0]);
    if ((at->experts > 0) != (n->in[OFFSETS] != NULL))
        return err_set(e, "a stack of matrices, and only that, has offsets");
    if (n->in[OFFSETS] && n->in[OFFSETS]->shape.dim[0] != at->experts + 1)
        return err_set(e, "%lld offsets for %lld experts", (long long)n->in[OFFSETS]->shape.dim[0],
                       (long long)at->experts);
    node_value(n, DTYPE_ACT, SHAPE(x.dim[0], at->n));
    return 0;
}

/* 2 R K N, R rows of x. */
static void cost(const struct node *n, struct cost *c)
{
    c->flops = 2 * (double)shape_count(n->in[X]->shape) * (double)shape_last(n->shape);
}

/* to += from w^T or, in backward, from w: a block is ROWS rows of it and WIDE columns. */
struct job {
    const struct tensor *from, *to; real beta; bool back, narrow;
    struct nf4 places; const uint8_t *kept;
    int64_t n, k, wide, deep;                               /* of w; columns of `to` and of `from` */
    int experts; const int32_t *offsets;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* n values from number `at` on. */
static void dequantise(const struct job *j, int64_t at, int64_t n, real *restrict to)
{
    static const float level[NF4_LEVELS] = NF4_TABLE;
    for (int64_t i = 0; i < n; ) {
        int64_t end = least(n, (at + i) / NF4_BLOCK * NF4_BLOCK + NF4_BLOCK - at);
        float size = nf4_size_of(&j->places, j->kept, (at + i) / NF4_BLOCK);
        for (; i < end; i++) to[i] = (real)(level[nf4_number(j->kept, at + i)] * size);
    }
}

static _Thread_local struct { _Alignas(64) real w[WIDE * DEEP], sums[ROWS * WIDE], row[WIDE]; } tile;

/* The part of matrix e that columns col.. of a block read at depth `deep`: rows of w, or in backward columns of it. */
static struct matrix tile_of(const struct job *j, int64_t e, int64_t col, int64_t cols, int64_t deep, int64_t n)
{
    int64_t first = e * j->n * j->k, rows = j->back ? n : cols, each = j->back ? cols : n;
    for (int64_t r = 0; r < rows; r++)
        dequantise(j, first + ((j->back ? deep : col) + r) * j->k + (j->back ? col : deep), each, tile.w + r * each);
    struct matrix w = matrix_reals(tile.w, each);
    return j->back ? w : matrix_transposed(w);
}

/* e = experts: rows of nobody, to which nothing is added. */
static void block(const struct job *j, int64_t e, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    int64_t depth = e < (j->experts ? j->experts : 1) ? j->deep : 0;
    memset(tile.sums, 0, (size_t)(rows * WIDE) * sizeof *tile.sums);
    for (int64_t at = 0; at < depth; at += DEEP) {
        int64_t n = least(DEEP, depth - at);
        gemm_here(&(struct gemm){ .m = rows, .n = cols, .k = n, .a = matrix_at(matrix_of(j->from, j->deep), row, at),
                                  .b = tile_of(j, e, col, cols, at, n), .c = matrix_reals(tile.sums, WIDE),
                                  .beta = at > 0, .narrow = j->narrow });
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = (row + r) * j->wide + col;
        real *to = row_add(j->to, at, cols, j->beta, tile.row);
        for (int64_t c = 0; c < cols; c++) to[c] += tile.sums[r * WIDE + c];
        row_done(j->to, at, cols, to);
    }
}

/* Where the rows of expert e begin; of one matrix, and of those of nobody, likewise. */
static int64_t begin(const struct job *j, int64_t e, int64_t rows)
{
    return e == 0 ? 0 : e <= j->experts ? j->offsets[e] : rows;
}

static void blocks(const struct args *a, int64_t from, int64_t to)
{
    const struct job *j = a->attr;
    int64_t wide = blocks_of(j->wide, WIDE), rows = j->to->shape.dim[0], first = 0;
    for (int64_t e = 0; from < to; e++) {
        int64_t top = begin(j, e, rows), end = begin(j, e + 1, rows), n = blocks_of(end - top, ROWS) * wide;
        for (; from < to && from < first + n; from++) {
            int64_t row = top + (from - first) / wide * ROWS, col = (from - first) % wide * WIDE;
            block(j, e, row, least(ROWS, end - row), col, least(WIDE, j->wide - col));
        }
        first += n;
    }
}

static void run(const struct args *a, struct job *j)
{
    const struct nf4_attr *at = a->attr;
    struct args with = *a;
    int64_t rows = j->to->shape.dim[0], n = 0;
    j->places = nf4_places((enum kept_as)at->kept, matrices(at) * at->n * at->k);
    j->kept = a->in[CODES].data;
    j->n = at->n;
    j->k = at->k;
    j->wide = j->back ? at->k : at->n;
    j->deep = j->back ? at->n : at->k;
    j->experts = (int)at->experts;
    j->offsets = at->experts ? ints(&a->in[OFFSETS]) : NULL;
    j->narrow = j->from->format == FORMAT_BF16 && j->to->format == FORMAT_BF16;
    for (int64_t e = 0; e <= j->experts; e++) n += blocks_of(begin(j, e + 1, rows) - begin(j, e, rows), ROWS);
    with.attr = j;
    each(&with, n * blocks_of(j->wide, WIDE), 1, blocks);
}

static void forward(const struct args *a) { run(a, &(struct job){ .from = &a->in[X], .to = &a->out[0] }); }

/* dx = dy w */
static void backward(const struct args *a)
{
    if (!a->din[X].data) return;
    run(a, &(struct job){ .from = &a->dout[0], .to = &a->din[X], .beta = a->beta[X], .back = true });
}

KERNELS(nf4_matmul) = { forward, backward, NULL };

ATTRIBUTES(nf4_matmul, struct nf4_attr,
    INT(struct nf4_attr, n, NEEDED, 1, INT32_MAX, "", "rows of w"),
    INT(struct nf4_attr, k, NEEDED, 1, INT32_MAX, "", "columns of w"),
    INT(struct nf4_attr, experts, 0, 0, INT32_MAX, "", "matrices of a stack; 0: w is one"),
    CHOICE(struct nf4_attr, kept, NEEDED, "float nf4 nf4_double", "whether sizes of blocks are floats or bytes"));
OP(nf4_matmul, .inputs = "x[R,K] codes:U8[B] offsets?:I32[_]",
   .outputs = "y:ACT[R,N]",
   .about = "x w^T, or rows offsets[e] to offsets[e+1] of x times w[e]^T and 0 from the last offset on, of a w [N,K] "
            "or [E,N,K] that is kept in NF4; no gradient of w",
   ATTR(nf4_matmul), .infer = infer, .cost = cost, .gradient = true, .no_grad = 1u << CODES | 1u << OFFSETS,
   .factors = 1u << CODES, .reads_in = 1u << CODES | 1u << OFFSETS);
