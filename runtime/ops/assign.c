/* Balanced assignment: the rows of each group to columns, n / E to each and one more to the n mod E columns that most
   rows like best, such that the sum of values is within n eps (largest range of a row) of the most there is. By an
   auction (Bertsekas 1988; of columns that take several, Bertsekas and Castanon 1989): in a round each row that has no
   column bids for the one with the largest value - price as much more than its price as the second best would be worse,
   and eps; a column keeps the highest bids that it has room for and, once full, costs the least of them. What the
   rounds leave over goes, row after row, to the column with the largest value that has room. Lewis 2021 (BASE).

   No value depends on the order of the rows of a round: of equal bids the lower row's is the higher one. */
#define VERBS "graph/ops/routing.h"
#include "op.h"

#include <math.h>

enum { BID, INTEGERS, PRICES, SUMS };                       /* of work */
enum { ROUNDS, LEFT };                                      /* of a group's sums */

VERB struct node *assign(struct graph *g, struct node *value, struct assign_attr a)
{
    return graph_emit(g, &op_assign, &a, value);
}

static int infer(struct node *n, struct err *e)
{
    const struct assign_attr *at = n->attr;
    int64_t rows = n->in[0]->shape.dim[0], columns = n->in[0]->shape.dim[1];
    if (rows % at->groups != 0)
        return err_set(e, "%lld rows cannot be divided into %lld groups", (long long)rows, (long long)at->groups);
    node_value(n, DTYPE_I32, SHAPE(rows, 1));
    node_output(n, DTYPE_REAL, SHAPE(1));                   /* rounds, mean over groups */
    node_output(n, DTYPE_REAL, SHAPE(1));                   /* share of rows that they left over */
    node_work(n, DTYPE_REAL, SHAPE(3, rows));
    node_work(n, DTYPE_I32, SHAPE(4 * rows + 3 * at->groups * columns));
    node_work(n, DTYPE_REAL, SHAPE(at->groups, columns));
    node_work(n, DTYPE_REAL, SHAPE(at->groups, 2));
    return 0;
}

/* A group: values and the bounds of each row's, what rows bid and for which column; rows that have none now, and after
   this round; what each column holds, its lowest bid first, from `first` on, `held` of the `room` that it has. */
struct auction {
    int32_t rows, columns;
    const real *value;
    real eps, *low, *high, *bid, *price;
    int32_t *to, *target, *bidder, *loser, *heap, *first, *held, *room;
};

static struct auction auction_of(const struct args *a, int64_t group)
{
    int64_t groups = ((const struct assign_attr *)a->attr)->groups, columns = a->in[0].shape.dim[1],
            rows = a->in[0].shape.dim[0] / groups;
    int32_t *of_rows = ints(&a->work[INTEGERS]) + 4 * group * rows,
            *of_columns = ints(&a->work[INTEGERS]) + 4 * groups * rows + 3 * group * columns;
    return (struct auction){
        .rows = (int32_t)rows, .columns = (int32_t)columns, .value = reals(&a->in[0]) + group * rows * columns,
        .bid = reals(&a->work[BID]) + 3 * group * rows, .low = reals(&a->work[BID]) + (3 * group + 1) * rows,
        .high = reals(&a->work[BID]) + (3 * group + 2) * rows, .price = reals(&a->work[PRICES]) + group * columns,
        .to = ints(&a->out[0]) + group * rows, .target = of_rows, .bidder = of_rows + rows, .loser = of_rows + 2 * rows,
        .heap = of_rows + 3 * rows, .first = of_columns, .held = of_columns + columns, .room = of_columns + 2 * columns
    };
}

/* From 0 up; NaN is the smallest value of its row, infinities are the smallest and the largest. */
static real worth(const struct auction *s, int32_t t, int32_t e)
{
    real x = s->value[(int64_t)t * s->columns + e];
    return (x > s->high[t] ? s->high[t] : x >= s->low[t] ? x : s->low[t]) - s->low[t];
}

static void bound_values(struct auction *s, double eps)
{
    real range = 0;
    for (int32_t t = 0; t < s->rows; t++) {
        real low = (real)INFINITY, high = -(real)INFINITY;
        for (int32_t e = 0; e < s->columns; e++) {
            real x = s->value[(int64_t)t * s->columns + e];
            if (!isfinite(x)) continue;
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        s->low[t] = low <= high ? low : 0;
        s->high[t] = low <= high ? high : 0;
        range = s->high[t] - s->low[t] > range ? s->high[t] - s->low[t] : range;
    }
    s->eps = range > 0 ? range * (real)eps : 1;
}

/* The columns that more rows like best have room for one more than others; of equal ones the first. */
static void share_room(struct auction *s)
{
    int32_t each = s->rows / s->columns, more = s->rows % s->columns, next = 0;
    memset(s->held, 0, (size_t)s->columns * sizeof *s->held);
    for (int32_t t = 0; t < s->rows; t++) {
        int32_t best = 0;
        for (int32_t e = 1; e < s->columns; e++) if (worth(s, t, e) > worth(s, t, best)) best = e;
        s->held[best]++;
    }
    for (int32_t e = 0; e < s->columns; e++) {
        int32_t before = 0;
        for (int32_t f = 0; f < s->columns; f++)
            before += s->held[f] > s->held[e] || (s->held[f] == s->held[e] && f < e);
        s->room[e] = each + (before < more);
        s->first[e] = next;
        next += s->room[e];
    }
    for (int32_t e = 0; e < s->columns; e++) {
        s->held[e] = 0;
        s->price[e] = s->room[e] > 0 ? 0 : (real)INFINITY;
    }
}

static void bid_for_best(const struct auction *s, int32_t t)
{
    int32_t at = 0;
    real best = -(real)INFINITY, second = -(real)INFINITY;
    for (int32_t e = 0; e < s->columns; e++) {
        real x = worth(s, t, e) - s->price[e];
        if (x > best) {
            second = best;
            best = x;
            at = e;
        } else if (x > second) second = x;
    }
    if (second == -(real)INFINITY) second = best;           /* there is no other column */
    s->target[t] = at;
    s->bid[t] = s->price[at] + (best - second) + s->eps;
}

static bool is_lower(const struct auction *s, int32_t t, int32_t u)
{
    return s->bid[t] < s->bid[u] || (s->bid[t] == s->bid[u] && t > u);
}

static void swap(int32_t *x, int32_t *y)
{
    int32_t old = *x;
    *x = *y;
    *y = old;
}

static void heap_down(const struct auction *s, int32_t *heap, int32_t n)
{
    for (int32_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_lower(s, heap[child + 1], heap[child])) child++;
        if (!is_lower(s, heap[child], heap[i])) return;
        swap(&heap[i], &heap[child]);
    }
}

static void heap_up(const struct auction *s, int32_t *heap, int32_t i)
{
    for (; i > 0 && is_lower(s, heap[i], heap[(i - 1) / 2]); i = (i - 1) / 2) swap(&heap[i], &heap[(i - 1) / 2]);
}

/* Gives a row the column that it bids for, if that has room or the bid is above its lowest. The row that has none
   then; -1: none. */
static int32_t offer(const struct auction *s, int32_t t)
{
    int32_t e = s->target[t], *heap = s->heap + s->first[e], out = -1;
    if (s->held[e] == s->room[e]) {
        if (!is_lower(s, heap[0], t)) return t;
        out = heap[0];
        s->to[out] = -1;
        heap[0] = t;
        heap_down(s, heap, s->room[e]);
    } else {
        heap[s->held[e]] = t;
        heap_up(s, heap, s->held[e]++);
    }
    s->to[t] = e;
    return out;
}

/* Row after row takes what is left. */
static int32_t finish(const struct auction *s)
{
    int32_t left = 0;
    for (int32_t t = 0; t < s->rows; t++) {
        int32_t best = -1;
        if (s->to[t] >= 0) continue;
        for (int32_t e = 0; e < s->columns; e++)
            if (s->held[e] < s->room[e] && (best < 0 || worth(s, t, e) > worth(s, t, best))) best = e;
        s->held[best]++;
        s->to[t] = best;
        left++;
    }
    return left;
}

static void assign_group(const struct args *a, int64_t group)
{
    const struct assign_attr *at = a->attr;
    struct auction s = auction_of(a, group);
    int32_t bidders = s.rows;
    int64_t round = 0;
    bound_values(&s, at->eps);
    share_room(&s);
    for (int32_t t = 0; t < s.rows; t++) {
        s.bidder[t] = t;
        s.to[t] = -1;
    }
    for (; bidders > 0 && round < at->rounds; round++) {
        int32_t losers = 0;
        for (int32_t i = 0; i < bidders; i++) bid_for_best(&s, s.bidder[i]);
        for (int32_t i = 0; i < bidders; i++) {
            int32_t out = offer(&s, s.bidder[i]);
            if (out >= 0) s.loser[losers++] = out;
        }
        for (int32_t e = 0; e < s.columns; e++)
            if (s.held[e] == s.room[e] && s.room[e] > 0) s.price[e] = s.bid[s.heap[s.first[e]]];
        bidders = losers;
        int32_t *next = s.loser;
        s.loser = s.bidder;
        s.bidder = next;
    }
    reals(&a->work[SUMS])[2 * group + ROUNDS] = (real)round;
    reals(&a->work[SUMS])[2 * group + LEFT] = (real)finish(&s);
}

static void assign_groups(const struct args *a, int64_t from, int64_t to)
{
    for (; from < to; from++) assign_group(a, from);
}

static void forward(const struct args *a)
{
    int64_t groups = ((const struct assign_attr *)a->attr)->groups;
    double sum[2] = { 0, 0 };
    each(a, groups, 1, assign_groups);
    for (int64_t i = 0; i < 2 * groups; i++) sum[i % 2] += (double)reals(&a->work[SUMS])[i];
    reals(&a->out[1])[0] = (real)(sum[ROUNDS] / (double)groups);
    reals(&a->out[2])[0] = (real)(sum[LEFT] / (double)a->in[0].shape.dim[0]);
}

KERNELS(assign) = { forward, NULL, NULL };

ATTRIBUTES(assign, struct assign_attr,
    INT(struct assign_attr, groups, NEEDED, 1, INT32_MAX, "", "of rows, each assigned by itself"),
    INT(struct assign_attr, rounds, NEEDED, 0, INT32_MAX, "", "of bids at most"),
    REAL(struct assign_attr, eps, NEEDED, ABOVE_0, HUGE_VAL, "",
         "least raise, in shares of the largest range of a row's values"));
OP(assign, .inputs = "value:REAL[T,E]",
   .outputs = "index:I32[T,1] rounds:REAL[1] left:REAL[1]",
   .about = "a column for each row, all columns of each group of T / groups rows alike often or once more, by an "
          "auction whose sum of values, where no row is left, is within T eps (largest range of a row) of the most "
          "there is; left: the share of rows that the rounds left over, which take what is free. NaN counts as the "
          "smallest value of its row",
   ATTR(assign), .infer = infer);
