/* Experts with room for so many: topk_columns, where they choose their tokens (Zhou 2022: expert choice), and
   drop_over_capacity, where tokens choose and what finds no room is dropped (Lepikhin 2020: GShard; Fedus 2021:
   Switch). Both look for the c-th largest key of an expert, a digit after the other from the top: as many passes
   whatever the keys are. drop_zero drops what has no weight. */
#define VERBS "graph/ops/routing.h"
#include "op.h"

#include <math.h>

/* ---- the c-th largest ---- */

/* A key as bits in the same order: -INFINITY is 0, NaN comes next, -0 is 0. */
typedef __typeof__(__builtin_choose_expr(sizeof(real) == 8, (uint64_t)0, (uint32_t)0)) word;
enum { DIGIT = 4, DIGITS = 1 << DIGIT, WORD_BITS = 8 * sizeof(word) };
static const word SIGN = (word)1 << (WORD_BITS - 1);

static word word_of(real key)
{
    word bits;
    key += 0;
    memcpy(&bits, &key, sizeof bits);
    return key != key ? 1 : isinf(key) && key < 0 ? 0 : bits & SIGN ? ~bits : bits | SIGN;
}

static real key_of(word w)
{
    word bits = w & SIGN ? w & ~SIGN : ~w;
    real key;
    memcpy(&key, &bits, sizeof bits);
    return w == 0 ? -(real)INFINITY : w == 1 ? (real)NAN : key;
}

/* What is known of a c-th largest word: its higher digits, and how many of the words that begin so are among the c. */
struct nth { word word; int64_t left; };

static bool begins_alike(const struct nth *nth, word w, int shift) { return (w ^ nth->word) >> shift >> DIGIT == 0; }
static int digit_of(word w, int shift) { return (int)(w >> shift) & (DIGITS - 1); }

/* The next digit, from how many of the words that begin alike have each; 0 where there are not as many as c. */
static void narrow(struct nth *nth, const int32_t *count, int shift)
{
    int digit = DIGITS - 1;
    while (digit > 0 && nth->left > count[digit]) nth->left -= count[digit--];
    nth->word |= (word)digit << shift;
}

/* Whether a word is among the c: of equals, who asks first. */
static bool takes(struct nth *nth, word w) { return w > nth->word || (w == nth->word && nth->left-- > 0); }

static int need_groups(const struct node *n, int64_t groups, struct err *e)
{
    int64_t tokens = n->in[0]->shape.dim[0];
    if (tokens % groups == 0) return 0;
    return err_set(e, "%lld tokens cannot be divided into %lld groups", (long long)tokens, (long long)groups);
}

/* ---- topk_columns ---- */

enum { COLUMNS = 16 };                                      /* a tile: a cache line of keys */

VERB struct node *topk_columns(struct graph *g, struct node *key, int64_t groups, int64_t c)
{
    struct topk_columns_attr a = { groups, c };
    return graph_emit(g, &op_topk_columns, &a, key);
}

static int choice_infer(struct node *n, struct err *e)
{
    const struct topk_columns_attr *at = n->attr;
    if (need_groups(n, at->groups, e) != 0) return -1;
    int64_t tokens = n->in[0]->shape.dim[0] / at->groups, experts = n->in[0]->shape.dim[1];
    if (at->c > tokens)
        return err_set(e, "c = %lld, there are %lld tokens to choose from", (long long)at->c, (long long)tokens);
    node_value(n, DTYPE_I32, n->in[0]->shape);
    node_output(n, DTYPE_REAL, SHAPE(experts));             /* threshold */
    node_work(n, DTYPE_REAL, SHAPE(at->groups, experts));   /* of each group */
    return 0;
}

/* Columns `first` .. of the tokens of a group. */
static void choose_tile(const struct args *a, int64_t group, int64_t first)
{
    const struct topk_columns_attr *at = a->attr;
    int64_t tokens = a->in[0].shape.dim[0] / at->groups, experts = a->in[0].shape.dim[1],
            columns = experts - first < COLUMNS ? experts - first : COLUMNS, from = group * tokens * experts + first;
    const real *key = reals(&a->in[0]) + from;
    int32_t *index = ints(&a->out[0]) + from;
    struct nth nth[COLUMNS];
    for (int e = 0; e < columns; e++) nth[e] = (struct nth){ 0, at->c };
    for (int shift = WORD_BITS - DIGIT; shift >= 0; shift -= DIGIT) {
        int32_t count[COLUMNS][DIGITS] = { { 0 } };
        for (int64_t t = 0; t < tokens; t++)
            for (int e = 0; e < columns; e++) {
                word w = word_of(key[t * experts + e]);
                count[e][digit_of(w, shift)] += begins_alike(&nth[e], w, shift);
            }
        for (int e = 0; e < columns; e++) narrow(&nth[e], count[e], shift);
    }
    for (int e = 0; e < columns; e++) reals(&a->work[0])[group * experts + first + e] = key_of(nth[e].word);
    for (int64_t t = 0; t < tokens; t++)
        for (int e = 0; e < columns; e++) {
            word w = word_of(key[t * experts + e]);
            index[t * experts + e] = w != 0 && takes(&nth[e], w) ? (int32_t)first + e : -1;
        }
}

static void choose_tiles(const struct args *a, int64_t from, int64_t to)
{
    int64_t tiles = blocks_of(a->in[0].shape.dim[1], COLUMNS);
    for (; from < to; from++) choose_tile(a, from / tiles, from % tiles * COLUMNS);
}

static void choice_forward(const struct args *a)
{
    const struct topk_columns_attr *at = a->attr;
    int64_t experts = a->in[0].shape.dim[1];
    each(a, at->groups * blocks_of(experts, COLUMNS), 1, choose_tiles);
    for (int64_t e = 0; e < experts; e++) {
        double sum = 0;
        for (int64_t group = 0; group < at->groups; group++) sum += reals(&a->work[0])[group * experts + e];
        reals(&a->out[1])[e] = (real)(sum / (double)at->groups);
    }
}

KERNELS(topk_columns) = { choice_forward, NULL, NULL };

ATTRIBUTES(topk_columns, struct topk_columns_attr,
    INT(struct topk_columns_attr, groups, NEEDED, 1, INT32_MAX, "", "of tokens, each chosen from by itself"),
    INT(struct topk_columns_attr, c, NEEDED, 1, INT32_MAX, "tokens", "for each expert of a group"));
OP(topk_columns, .inputs = "key:REAL[T,E]",
   .outputs = "index:I32[T,E] least:REAL[E]",
   .about = "experts choose: column e is e in the c rows of each group of T / groups with the largest keys, -1 in "
          "the others; ties to the lower row; -INFINITY is never chosen. least: the c-th largest key, mean over groups",
   ATTR(topk_columns), .infer = choice_infer);

/* ---- drop_over_capacity ---- */

enum { INDEX, GATE, ROOM };

VERB struct node *drop_over_capacity(struct graph *g, struct node *index, struct node *gate, struct node *room,
                                     int experts, int64_t groups, int64_t capacity, enum priority first)
{
    struct drop_over_capacity_attr a = { experts, groups, capacity, first };
    return graph_emit(g, &op_drop_over_capacity, &a, index, gate, room);
}

static int room_infer(struct node *n, struct err *e)
{
    const struct drop_over_capacity_attr *at = n->attr;
    if (need_groups(n, at->groups, e) != 0) return -1;
    if (at->first == PRIORITY_GATE && !n->in[GATE]) return err_set(e, "the largest gates come first, there are none");
    int64_t rooms = n->in[ROOM] ? n->in[ROOM]->shape.dim[0] : 1;
    if (rooms != 1 && rooms != at->experts)
        return err_set(e, "'room' has %lld values: one for all %lld experts, or one for each", (long long)rooms,
                       (long long)at->experts);
    node_value(n, DTYPE_I32, n->in[INDEX]->shape);
    node_output(n, DTYPE_REAL, SHAPE(1));                   /* share that was dropped */
    node_work(n, DTYPE_I32, SHAPE(at->groups, 2));          /* pairs of each group, and those that were dropped */
    return 0;
}

/* The smallest gate for which each expert has room. */
static void narrow_gates(struct nth *nth, int64_t experts, const int32_t *index, const real *gate, int64_t pairs)
{
    int32_t count[experts][DIGITS];
    for (int shift = WORD_BITS - DIGIT; shift >= 0; shift -= DIGIT) {
        memset(count, 0, sizeof count);
        for (int64_t p = 0; p < pairs; p++) {
            if (index[p] < 0 || index[p] >= experts) continue;
            word w = word_of(gate[p]);
            count[index[p]][digit_of(w, shift)] += begins_alike(&nth[index[p]], w, shift);
        }
        for (int64_t e = 0; e < experts; e++) narrow(&nth[e], count[e], shift);
    }
}

static int64_t capacity_now(const struct args *a, int64_t expert)
{
    int64_t most = ((const struct drop_over_capacity_attr *)a->attr)->capacity;
    if (!a->in[ROOM].data) return most;
    real room = reals(&a->in[ROOM])[a->in[ROOM].shape.dim[0] == 1 ? 0 : expert];
    return room < (real)most ? (int64_t)room : most;
}

static void drop_group(const struct args *a, int64_t group)
{
    const struct drop_over_capacity_attr *at = a->attr;
    int64_t k = a->in[INDEX].shape.dim[1], tokens = a->in[INDEX].shape.dim[0] / at->groups, first = group * tokens * k;
    const int32_t *index = ints(&a->in[INDEX]) + first;
    const real *gate = at->first == PRIORITY_GATE ? reals(&a->in[GATE]) + first : NULL;
    int32_t *kept = ints(&a->out[0]) + first, pairs = 0, dropped = 0;
    struct nth nth[at->experts];
    for (int64_t e = 0; e < at->experts; e++) nth[e] = (struct nth){ 0, capacity_now(a, e) };
    if (gate) narrow_gates(nth, at->experts, index, gate, tokens * k);
    for (int64_t i = 0; i < tokens * k; i++) {
        int64_t p = at->first == PRIORITY_CHOICE ? i % tokens * k + i / tokens : i;
        kept[p] = index[p];
        if (index[p] < 0 || index[p] >= at->experts) continue;
        pairs++;
        if (takes(&nth[index[p]], gate ? word_of(gate[p]) : 0)) continue;
        kept[p] = -1;
        dropped++;
    }
    ints(&a->work[0])[2 * group] = pairs;
    ints(&a->work[0])[2 * group + 1] = dropped;
}

static void drop_groups(const struct args *a, int64_t from, int64_t to)
{
    for (; from < to; from++) drop_group(a, from);
}

static void room_forward(const struct args *a)
{
    const struct drop_over_capacity_attr *at = a->attr;
    double pairs = 0, dropped = 0;
    each(a, at->groups, 1, drop_groups);
    for (int64_t group = 0; group < at->groups; group++) {
        pairs += ints(&a->work[0])[2 * group];
        dropped += ints(&a->work[0])[2 * group + 1];
    }
    reals(&a->out[1])[0] = pairs > 0 ? (real)(dropped / pairs) : 0;
}

KERNELS(drop_over_capacity) = { room_forward, NULL, NULL };

ATTRIBUTES(drop_over_capacity, struct drop_over_capacity_attr,
    INT(struct drop_over_capacity_attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct drop_over_capacity_attr, groups, NEEDED, 1, INT32_MAX, "", "of tokens, each with room of its own"),
    INT(struct drop_over_capacity_attr, capacity, NEEDED, 1, HUGE_VAL, "tokens",
        "of a group that an expert has room for"),
    CHOICE(struct drop_over_capacity_attr, first, NEEDED, "token choice gate",
           "whose pairs come first: token after token; first choices; the largest gates, which `gate` gives"));
OP(drop_over_capacity, .inputs = "index:I32[T,K] gate?:REAL[T,K] room?:REAL[N]",
   .outputs = "index:I32[T,K] dropped:REAL[1]",
   .about = "the index, -1 for pairs for which their expert has no room in their group of T / groups tokens; ties to "
          "the earlier pair. room: how much there is now where it is less than capacity, of each expert or, N = 1, of "
          "all alike. dropped: the share of such pairs",
   ATTR(drop_over_capacity), .infer = room_infer);

/* ---- drop_zero ---- */

VERB struct node *drop_zero(struct graph *g, struct node *index, struct node *gate)
{
    return graph_emit(g, &op_drop_zero, NULL, index, gate);
}

static int zero_infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_I32, n->in[INDEX]->shape);
    return 0;
}

static void zero_forward(const struct args *a)
{
    for (int64_t i = 0; i < shape_count(a->out[0].shape); i++)
        ints(&a->out[0])[i] = reals(&a->in[GATE])[i] == 0 ? -1 : ints(&a->in[INDEX])[i];
}

KERNELS(drop_zero) = { zero_forward, NULL, NULL };
OP(drop_zero, .inputs = "index:I32[T,K] gate:REAL[T,K]",
   .outputs = "index:I32[T,K]",
   .about = "the index, -1 where its gate is 0",
   .infer = zero_infer, .rows = 1u << INDEX | 1u << GATE);
