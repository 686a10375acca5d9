/* Where experts are computed: nodes that a token goes to, copies of busy experts, and rows that leave. */
#define VERBS "graph/ops/ranks.h"
#include "op.h"
#include "backend/placement.h"
#include "comm/comm.h"
#include "cpu/vec_math.h"

enum { TOKENS = 256, VALUES = 4096 };                       /* of a block */

/* ---- choose_nodes: the nodes of a token's experts, each once, and what it wants there ---- */

VERB struct node *choose_nodes(struct graph *g, struct node *index, struct choose_nodes_attr a)
{
    return graph_emit(g, &op_choose_nodes, &a, index);
}

static int choose_nodes_infer(struct node *n, struct err *e)
{
    const struct choose_nodes_attr *at = n->attr;
    int64_t tokens = n->in[0]->shape.dim[0], k = n->in[0]->shape.dim[1], each = at->experts / at->nodes;
    if (at->experts % at->nodes != 0)
        return err_set(e, "%lld experts cannot be divided among %lld nodes", (long long)at->experts,
                       (long long)at->nodes);
    int64_t there = k < each ? k : each;
    node_value(n, DTYPE_I32, SHAPE(tokens, at->most));
    node_output(n, DTYPE_REAL, SHAPE(tokens, at->most * there));
    node_output(n, DTYPE_I32, SHAPE(tokens, at->most * there));
    return 0;
}

/* Where the token's node is among those found before, or behind them. */
static int64_t find_node(const int32_t *nodes, int64_t found, int32_t node)
{
    int64_t m = 0;
    while (m < found && nodes[m] != node) m++;
    return m;
}

static void choose_nodes_rows(const struct args *a, int64_t from, int64_t to)
{
    const struct choose_nodes_attr *at = a->attr;
    int64_t k = a->in[0].shape.dim[1], most = at->most, there = a->out[1].shape.dim[1] / most, found, n[most];
    int32_t each = (int32_t)(at->experts / at->nodes);
    for (int64_t t = from; t < to; t++) {
        const int32_t *index = ints(&a->in[0]) + t * k;
        int32_t *nodes = ints(&a->out[0]) + t * most, *pair = ints(&a->out[2]) + t * most * there;
        real *number = reals(&a->out[1]) + t * most * there;
        for (int64_t m = 0; m < most; m++) nodes[m] = -1;
        for (int64_t i = 0; i < most * there; i++) { number[i] = 0; pair[i] = -1; }
        found = 0;
        for (int64_t j = 0; j < k; j++) {
            if (index[j] < 0 || index[j] >= at->experts) continue;
            int64_t m = find_node(nodes, found, index[j] / each);
            INVARIANT(m < most, "choose_nodes: a token goes to more than %lld nodes", (long long)most);
            if (m == found) { nodes[found++] = index[j] / each; n[m] = 0; }
            INVARIANT(n[m] < there, "choose_nodes: a token goes to an expert twice");
            pair[m * there + n[m]] = (int32_t)j;
            number[m * there + n[m]++] = (real)(index[j] % each + 1);
        }
    }
}

static void choose_nodes_forward(const struct args *a) { each(a, a->in[0].shape.dim[0], TOKENS, choose_nodes_rows); }

KERNELS(choose_nodes) = { choose_nodes_forward, NULL, NULL };
ATTRIBUTES(choose_nodes, struct choose_nodes_attr,
    INT(struct choose_nodes_attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct choose_nodes_attr, nodes, NEEDED, 1, INT32_MAX, "", "that they are divided among"),
    INT(struct choose_nodes_attr, most, NEEDED, 1, INT32_MAX, "", "nodes that a token goes to"));
OP(choose_nodes, .inputs = "index:I32[T,K]",
   .outputs = "nodes:I32[T,_] numbers:REAL[T,_] pairs:I32[T,_]",
   .about = "the M nodes of a token's experts, each once, -1: no further one; for each of them, side by side, its "
            "experts there by their number on the node, from 1 on, 0: no further one, and which of the K they are, or "
            "-1",
   ATTR(choose_nodes), .infer = choose_nodes_infer);

/* ---- read_index: an index again of numbers that came with rows ---- */

VERB struct node *read_index(struct graph *g, struct node *numbers)
{
    return graph_emit(g, &op_read_index, NULL, numbers);
}

static int read_index_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_I32, n->in[0]->shape);
    return 0;
}

static void read_index_forward(const struct args *a)
{
    const real *number = reals(&a->in[0]);
    int32_t *index = ints(&a->out[0]);
    for (int64_t i = 0; i < shape_count(a->in[0].shape); i++) index[i] = (int32_t)number[i] - 1;
}

KERNELS(read_index) = { read_index_forward, NULL, NULL };
OP(read_index, .inputs = "numbers:REAL[T,K]", .outputs = "index:I32[T,K]",
   .about = "of numbers as choose_nodes gives them; -1: none", .infer = read_index_infer);

/* ---- place_copies: which experts are computed by more than one rank ---- */

VERB struct node *place_copies(struct graph *g, struct node *load, struct place_copies_attr a)
{
    return graph_emit(g, &op_place_copies, &a, load);
}

static struct placement placement_of(const struct place_copies_attr *at)
{
    return (struct placement){ (int)(at->experts / at->nodes), (int)at->ranks, (int)at->spare };
}

static int place_copies_infer(struct node *n, struct err *e)
{
    const struct place_copies_attr *at = n->attr;
    int64_t ranks = at->nodes * at->ranks, own = at->experts / ranks;
    if (at->experts % ranks != 0)
        return err_set(e, "%lld experts cannot be divided among %lld ranks", (long long)at->experts, (long long)ranks);
    if (n->in[0]->shape.dim[0] < at->experts)
        return err_set(e, "%lld experts, loads of %lld", (long long)at->experts, (long long)n->in[0]->shape.dim[0]);
    if (at->spare > own * (at->ranks - 1))
        return err_set(e, "%lld copies: the other ranks of a node have only %lld experts", (long long)at->spare,
                       (long long)(own * (at->ranks - 1)));
    node_value(n, DTYPE_I32, SHAPE(ranks * at->spare));
    node_output(n, DTYPE_I32, SHAPE(at->experts + 1 + at->experts + ranks * at->spare));
    node_work(n, DTYPE_I32, SHAPE(2 * at->experts));
    return 0;
}

/* A node's table and the places of its experts, of which those of earlier nodes' stand before. */
static void place_node(const struct args *a, int node)
{
    const struct place_copies_attr *at = a->attr;
    struct placement p = placement_of(at);
    int copies = p.ranks * p.spare, all = p.experts + copies, first = node * p.experts;
    int *begin = ints(&a->out[1]) + first, *places = ints(&a->out[1]) + at->experts + 1, *work = ints(&a->work[0]);
    struct placed found = { work + 2 * first, work + 2 * first + p.experts, ints(&a->out[0]) + node * copies };
    placement_find(p, reals(&a->in[0]) + first, found);
    for (int e = 0, next = node * all; e < p.experts; e++) {
        int n = placement_places(p, found, e, places + next);
        for (int i = 0; i < n; i++) places[next + i] += node * all;
        begin[e] = next;
        next += n;
    }
    for (int i = 0; i < copies; i++) found.table[i] += first;
}

static void place_copies_forward(const struct args *a)
{
    const struct place_copies_attr *at = a->attr;
    for (int node = 0; node < at->nodes; node++) place_node(a, node);
    ints(&a->out[1])[at->experts] = (int32_t)(at->experts + shape_count(a->out[0].shape));
}

KERNELS(place_copies) = { place_copies_forward, NULL, NULL };
ATTRIBUTES(place_copies, struct place_copies_attr,
    INT(struct place_copies_attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct place_copies_attr, nodes, NEEDED, 1, INT32_MAX, "", "that they are divided among"),
    INT(struct place_copies_attr, ranks, NEEDED, 2, INT32_MAX, "", "of a node"),
    INT(struct place_copies_attr, spare, NEEDED, 1, INT32_MAX, "", "copies that a rank computes"));
OP(place_copies, .inputs = "load:REAL[_]", .outputs = "copies:I32[_] places:I32[_]",
   .about = "of each rank the experts of other ranks of its node that it computes too, those that were the busiest; "
            "[E+1] where the places of each expert begin, and these, its home first: rank by rank, of each its own "
            "experts and then its copies",
   ATTR(place_copies), .infer = place_copies_infer);

/* ---- spread: choices of experts as choices of places ---- */

/* offsets, inverse: of the choices sorted by expert. */
VERB struct node *spread(struct graph *g, struct node *index, struct node *offsets, struct node *inverse,
                         struct node *places, unsigned over)
{
    struct over_attr at = { over, place_group(&g->leaves->here, over) };
    return graph_emit(g, &op_spread, &at, index, offsets, inverse, places);
}

static void spread_pairs(const struct args *a, int64_t from, int64_t to)
{
    const int32_t *index = ints(&a->in[0]), *offsets = ints(&a->in[1]), *inverse = ints(&a->in[2]),
                  *begin = ints(&a->in[3]), *places = begin + a->in[1].shape.dim[0];
    int32_t *out = ints(&a->out[0]),
            me = (int32_t)place_index(&comm_here()->place, (unsigned)((const struct over_attr *)a->attr)->over);
    for (int64_t i = from; i < to; i++) {
        out[i] = -1;
        if (inverse[i] < 0) continue;
        int32_t e = index[i], turn = inverse[i] - offsets[e] + me;
        out[i] = places[begin[e] + turn % (begin[e + 1] - begin[e])];
    }
}

static void spread_forward(const struct args *a) { each(a, shape_count(a->in[0].shape), VALUES, spread_pairs); }

static int spread_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_I32, n->in[0]->shape);
    return 0;
}

#define OVER_ROWS(type) \
    INT(type, over, NEEDED, 1, OVER_ALL, "", "axes, a bit each"), \
    INT(type, ranks, NEEDED, 1, INT32_MAX, "", "how many they are along these")

KERNELS(spread) = { spread_forward, NULL, NULL };
ATTRIBUTES(spread, struct over_attr, OVER_ROWS(struct over_attr));
OP(spread, .inputs = "index:I32[T,K] offsets:I32[E+1] inverse:I32[T,K] places:I32[_]", .outputs = "index:I32[T,K]",
   .about = "of choices of experts, which dispatch has sorted, choices of places: those of an expert take its places "
            "in turn, beginning with one that goes by the rank; -1: none",
   ATTR(spread), .infer = spread_infer);

/* ---- with_copies: weights of this rank's experts, and of those of others that it computes too ---- */

/* copies: as place_copies gives them. */
VERB struct node *with_copies(struct graph *g, struct node *w, struct node *copies, int64_t spare, unsigned over)
{
    struct with_copies_attr at = { over, place_group(&g->leaves->here, over), spare };
    return graph_emit(g, &op_with_copies, &at, w, copies);
}

/* work: gradients that copies of this rank's experts send. */
static int with_copies_infer(struct node *n, struct err *e)
{
    const struct with_copies_attr *at = n->attr;
    struct shape s = n->in[0]->shape;
    (void)e;
    node_work(n, n->in[0]->dtype, SHAPE(at->ranks * at->spare, shape_count(s) / s.dim[0]));
    s.dim[0] += at->spare;
    node_value(n, n->in[0]->dtype, s);
    return 0;
}

/* The node's copies, of each rank `spare`; who is at home where. */
struct copies { int ranks, spare, me, first; int64_t own, each; const int32_t *of; };

static struct copies copies_of(const struct args *a)
{
    const struct with_copies_attr *at = a->attr;
    const struct place *here = &comm_here()->place;
    unsigned over = (unsigned)at->over;
    int all = place_index(here, OVER_EP), me = place_index(here, over);
    struct copies c = { (int)at->ranks, (int)at->spare, me, all - me, a->in[0].shape.dim[0],
                        shape_count(a->in[0].shape) / a->in[0].shape.dim[0], ints(&a->in[1]) };
    c.of += c.first * c.spare;
    return c;
}

static int home_of(const struct copies *c, int i) { return (int)(c->of[i] / c->own) - c->first; }

/* Each copy between its home, where the weights of experts lie in a row, and the rank that computes it, behind that
   one's own: from there to here, or back to a place for each copy. */
static void exchange_copies(const struct args *a, char *own, char *of_copies, bool to_copies)
{
    struct copies c = copies_of(a);
    const struct comm *comm = comm_here();
    unsigned over = (unsigned)((const struct with_copies_attr *)a->attr)->over;
    size_t bytes = (size_t)c.each * element_bytes(a->in[0].format);
    struct parcel parcel[c.ranks * c.spare];
    int n = 0;
    for (int i = 0; i < c.ranks * c.spare; i++) {
        int home = home_of(&c, i), computes = i / c.spare;
        char *at_home = own + (size_t)(to_copies ? c.of[i] % c.own : i) * bytes,
             *there = of_copies + (size_t)(i % c.spare) * bytes;
        bool mine = home == c.me, here = computes == c.me;
        if (mine && here) memcpy(to_copies ? there : at_home, to_copies ? at_home : there, bytes);
        else if (mine) parcel[n++] = (struct parcel){ place_member(&comm->place, over, computes), !to_copies, at_home,
                                                      bytes };
        else if (here) parcel[n++] = (struct parcel){ place_member(&comm->place, over, home), to_copies, there, bytes };
    }
    comm->exchange(parcel, n);
}

static void with_copies_forward(const struct args *a)
{
    size_t own = (size_t)shape_count(a->in[0].shape) * element_bytes(a->in[0].format);
    memcpy(a->out[0].data, a->in[0].data, own);
    exchange_copies(a, a->in[0].data, (char *)a->out[0].data + own, true);
}

/* dw = beta dw + dy + the sum over its copies of theirs, in the order of their places */
static void add_expert(const struct args *a, const struct copies *c, int64_t expert, int64_t from, int64_t to)
{
    int64_t n = to - from, at = expert * c->each + from;
    real wide[n], buffer[n];
    real *restrict dw = row_open(&a->din[0], at, n, a->beta[0], buffer);
    const real *restrict dy = row_read(&a->dout[0], at, n, wide);
    for (int64_t k = 0; k < n; k++) dw[k] = keep(a->beta[0], dw[k]) + dy[k];
    for (int i = 0; i < c->ranks * c->spare; i++) {
        if (home_of(c, i) != c->me || c->of[i] % c->own != expert) continue;
        const real *restrict copy = row_read(&a->work[0], i * c->each + from, n, wide);
        for (int64_t k = 0; k < n; k++) dw[k] += copy[k];
    }
    row_done(&a->din[0], at, n, dw);
}

static void add_copies(const struct args *a, int64_t from, int64_t to)
{
    struct copies c = copies_of(a);
    for (int64_t end; from < to; from = end) {
        int64_t expert = from / c.each, last = (expert + 1) * c.each;
        end = to < last ? to : last;
        add_expert(a, &c, expert, from - expert * c.each, end - expert * c.each);
    }
}

static void with_copies_backward(const struct args *a)
{
    size_t own = (size_t)shape_count(a->in[0].shape) * element_bytes(a->in[0].format);
    exchange_copies(a, a->work[0].data, (char *)a->dout[0].data + own, false);
    if (a->din[0].data) each(a, shape_count(a->in[0].shape), VALUES, add_copies);
}

KERNELS(with_copies) = { with_copies_forward, with_copies_backward, NULL };
ATTRIBUTES(with_copies, struct with_copies_attr, OVER_ROWS(struct with_copies_attr),
    INT(struct with_copies_attr, spare, NEEDED, 1, INT32_MAX, "", "copies that a rank computes"));
OP(with_copies, .inputs = "w[E,..] copies:I32[_]", .outputs = "y[_,..]",
   .about = "weights of a rank's own experts, and of those whose copies it computes, anew for backward rather than "
            "kept; the gradient of an expert is the sum of its copies' too",
   ATTR(with_copies), .infer = with_copies_infer, .gradient = true, .reads_in = 1u << 1, .cheap = true, .again = true,
   .travels = true, .travels_back = true);

/* ---- rows_away: how many go to others ---- */

VERB struct node *rows_away(struct graph *g, struct node *offsets, unsigned over)
{
    struct over_attr at = { over, place_group(&g->leaves->here, over) };
    return graph_emit(g, &op_rows_away, &at, offsets);
}

static int rows_away_infer(struct node *n, struct err *e)
{
    const struct over_attr *at = n->attr;
    int64_t experts = n->in[0]->shape.dim[0] - 1;
    if (experts % at->ranks != 0)
        return err_set(e, "%lld experts cannot be divided among %lld", (long long)experts, (long long)at->ranks);
    node_value(n, DTYPE_REAL, SHAPE(1));
    return 0;
}

static void rows_away_forward(const struct args *a)
{
    const struct over_attr *at = a->attr;
    const int32_t *offsets = ints(&a->in[0]);
    int64_t experts = a->in[0].shape.dim[0] - 1, each = experts / at->ranks,
            mine = place_index(&comm_here()->place, (unsigned)at->over) * each;
    reals(&a->out[0])[0] = (real)(offsets[experts] - (offsets[mine + each] - offsets[mine]));
}

KERNELS(rows_away) = { rows_away_forward, NULL, NULL };
ATTRIBUTES(rows_away, struct over_attr, OVER_ROWS(struct over_attr));
OP(rows_away, .inputs = "offsets:I32[E+1]", .outputs = "rows:REAL[1]",
   .about = "how many of the rows that are sorted by expert go to experts of others, who have equal runs of experts",
   ATTR(rows_away), .infer = rows_away_infer);
