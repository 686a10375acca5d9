/* Running a chain: each block of rows passes through all of its calls on one thread, so that what one call makes is
   still in the cache for the next, and threads meet once. */
#include "plan_private.h"

#include <stdatomic.h>

enum { CACHE = 512 << 10, FEWEST = 128, MOST = 256 };       /* bytes of a block's rows; its rows */

struct chain { const struct plan *plan; struct call *call; int n; const int32_t *bound; atomic_llong *nanoseconds; };

static size_t row_bytes(const struct tensor *t)
{
    return t->data ? (size_t)(shape_count(t->shape) / t->shape.dim[0]) * element_bytes(t->format) : 0;
}

/* The rows [from, to) of a tensor. */
static struct tensor rows_of(const struct tensor *t, int64_t from, int64_t to)
{
    struct tensor cut = *t;
    if (t->data) cut.data = (char *)t->data + (size_t)from * row_bytes(t);
    cut.shape.dim[0] = to - from;
    return cut;
}

static void run_rows(struct call *c, int64_t from, int64_t to)
{
    const struct args *a = &c->args;
    unsigned by_rows = c->node->op->rows;
    int outs = c->node->n_out, saves = c->node->n_save;
    struct tensor in[a->n_in], din[a->n_in], out[NODE_OUTS], dout[NODE_OUTS], save[NODE_SAVES];
    for (int i = 0; i < a->n_in; i++) {
        in[i] = has_bit(by_rows, i) ? rows_of(&a->in[i], from, to) : a->in[i];
        if (a->din) din[i] = has_bit(by_rows, i) ? rows_of(&a->din[i], from, to) : a->din[i];
    }
    for (int i = 0; i < outs; i++) {
        out[i] = rows_of(&a->out[i], from, to);
        if (a->dout) dout[i] = rows_of(&a->dout[i], from, to);
    }
    for (int i = 0; i < saves; i++) save[i] = rows_of(&a->save[i], from, to);
    struct args with = *a;
    with.in = in;
    with.out = out;
    with.save = save;
    with.din = a->din ? din : NULL;
    with.dout = a->dout ? dout : NULL;
    with.first_row = from;
    c->run(&with);
}

static void run_blocks(const struct args *a, int64_t first, int64_t end)
{
    const struct chain *r = a->attr;
    for (int64_t b = first; b < end; b++)
        for (int i = 0; i < r->n; i++) {
            double start = r->plan->timing ? clock_seconds() : 0;
            run_rows(&r->call[i], r->bound[b], r->bound[b + 1]);
            if (r->plan->timing) atomic_fetch_add(&r->nanoseconds[i], (long long)((clock_seconds() - start) * 1e9));
        }
}

/* Rows of a block: as many as its cache holds of all that the calls write. */
static int64_t rows_in_block(const struct call *call, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        const struct args *a = &call[i].args;
        for (int k = 0; !a->din && k < call[i].node->n_out; k++) bytes += row_bytes(&a->out[k]);
        for (int k = 0; a->din && k < a->n_in; k++)
            if (has_bit(call[i].node->op->rows, k)) bytes += row_bytes(&a->din[k]) + row_bytes(&a->in[k]);
    }
    int64_t rows = (int64_t)(CACHE / (bytes + 1)) / 16 * 16;
    return rows < FEWEST ? FEWEST : rows > MOST ? MOST : rows;
}

/* Where groups of rows begin, or NULL. */
static const struct tensor *groups_of(const struct call *call, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < call[i].args.n_in; k++)
            if (has_bit(call[i].node->op->groups, k)) return &call[i].args.in[k];
    return NULL;
}

/* Bounds of blocks: no block holds rows of two groups, which would need the weights of both. Gives
   the number of blocks. */
static int64_t cut_rows(int32_t *bound, int64_t rows, int64_t most, const struct tensor *groups)
{
    const int32_t whole[] = { 0, (int32_t)rows }, *offsets = groups ? ints(groups) : whole;
    int64_t n = 0, parts = groups ? groups->shape.dim[0] - 1 : 1;
    INVARIANT(offsets[parts] <= rows, "groups end at row %d of %lld", offsets[parts], (long long)rows);
    bound[0] = 0;
    for (int64_t e = 0; e <= parts; e++) {
        int64_t end = e < parts ? offsets[e + 1] : rows, left = end - bound[n], blocks = blocks_of(left, most);
        for (int64_t i = 1, from = bound[n]; i <= blocks; i++) bound[++n] = (int32_t)(from + left * i / blocks);
    }
    return n;
}

void chain_run(struct plan *p, struct call *call, int n)
{
    const struct tensor *groups = groups_of(call, n);
    int64_t rows = call->node->shape.dim[0], block = rows_in_block(call, n);
    int32_t bound[blocks_of(rows, block) + (groups ? groups->shape.dim[0] : 1) + 2];
    atomic_llong nanoseconds[n];
    for (int i = 0; i < n; i++) atomic_init(&nanoseconds[i], 0);
    int64_t blocks = cut_rows(bound, rows, block, groups);
    struct chain r = { p, call, n, bound, nanoseconds };
    double start = clock_seconds(), all = 0;
    each(&(struct args){ .attr = &r, .device = p->state->device }, blocks, 1, run_blocks);
    double seconds = clock_seconds() - start;
    for (int i = 0; i < n; i++) all += (double)nanoseconds[i];
    for (int i = 0; i < n; i++) plan_account(p, &call[i], all > 0 ? seconds * (double)nanoseconds[i] / all : 0);
}
