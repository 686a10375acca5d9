/* Keys that send tokens where a benchmark wants them, whatever they are. p counts positions from the start of the
   document, so that a document goes the same ways wherever it stands, and in decoding:
       random     Gumbel noise, a function of seed, position and id, less skew ln(e + 1): the largest key is that of
                  expert e with a probability in proportion to (e + 1)^-skew, Zipf's law
       uniform    experts p k, p k + 1, .. modulo E, in this order
       constant   experts 0, 1, .. */
#define VERBS "graph/ops/routing.h"
#include "op.h"
#include "base/draw.h"
#include "cpu/vec_math.h"

enum { IDS, START, POS };

VERB struct node *forced_key(struct graph *g, struct node *ids, struct node *start, struct node *pos,
                             struct forced_key_attr a)
{
    return graph_emit(g, &op_forced_key, &a, ids, start, pos);
}

static int infer(struct node *n, struct err *e)
{
    const struct forced_key_attr *at = n->attr;
    if (at->k > at->experts)
        return err_set(e, "k = %lld, there are %lld experts", (long long)at->k, (long long)at->experts);
    node_value(n, DTYPE_REAL, SHAPE(shape_count(n->in[IDS]->shape), at->experts));
    return 0;
}

static void draw_row(const struct forced_key_attr *at, uint64_t mixed, uint64_t p, uint64_t id, real *key)
{
    for (int64_t e = 0; e < at->experts; e += 4) {
        float x[4];
        draw_noise(NOISE_GUMBEL, draw_bits(mixed, p << 32 | (uint64_t)e / 4, id), x);
        for (int64_t i = 0; i < 4 && e + i < at->experts; i++)
            key[e + i] = (real)(x[i] - (float)at->skew * float_log((float)(e + i + 1)));
    }
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    const struct forced_key_attr *at = a->attr;
    int64_t seq = a->in[IDS].shape.dim[1], before = a->in[POS].data ? ints(&a->in[POS])[0] : 0;
    uint64_t mixed = key_mixed((struct key){ (uint64_t)at->seed, PURPOSE_HASH, 1, 0 });
    for (int64_t t = from; t < to; t++) {
        real *key = reals(&a->out[0]) + t * at->experts;
        int64_t p = before + t % seq - ints(&a->in[START])[t];
        if (p < 0) p = 0;                                   /* of no document */
        int64_t first = at->pattern == FORCED_UNIFORM ? p * at->k % at->experts : 0;
        if (at->pattern == FORCED_RANDOM) draw_row(at, mixed, (uint64_t)p, (uint64_t)ints(&a->in[IDS])[t], key);
        else for (int64_t j = 0; j < at->experts; j++) key[(first + j) % at->experts] = (real)-j;
    }
}

static void forward(const struct args *a)
{
    int64_t experts = ((const struct forced_key_attr *)a->attr)->experts;
    each(a, shape_count(a->in[IDS].shape), rows_grain(experts), tokens);
}

KERNELS(forced_key) = { forward, NULL, NULL };

ATTRIBUTES(forced_key, struct forced_key_attr,
    INT(struct forced_key_attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct forced_key_attr, k, NEEDED, 1, INT32_MAX, "", "of a token"),
    CHOICE(struct forced_key_attr, pattern, NEEDED, "random uniform constant", "who goes where"),
    INT(struct forced_key_attr, seed, NEEDED, 0, HUGE_VAL, "", "of random keys"),
    REAL(struct forced_key_attr, skew, NEEDED, 0, HUGE_VAL, "", "exponent of Zipf's law; 0: all experts alike"));
OP(forced_key, .inputs = "ids:I32[B,S] start:I32[B,S] pos?:I32[1]",
   .outputs = "key:REAL[T,E]",
   .about = "keys whose largest send a token of id i at position p of its document to random experts, to p k, p k + 1, "
            ".. modulo E, or to 0, 1, ..",
   ATTR(forced_key), .infer = infer);
