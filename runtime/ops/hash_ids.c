/* Hash routing (Roller 2021): the experts of a token are a function of its id, and nothing is learned. A vocabulary's
   ids stand in about the order of their frequency, so each E ids in a row are dealt to the E experts, one to each:
   every expert has as many ids, and about as many tokens. Id i has experts (a i + c j + b) mod E for j < K, where b
   and, prime to E, a and c are drawn for the E ids around i: a deals ids to different experts, c gives an id different
   ones. */
#define VERBS "graph/ops/routing.h"
#include "op.h"

VERB struct node *hash_ids(struct graph *g, struct node *ids, int experts, int k, uint64_t seed)
{
    struct hash_ids_attr a = { experts, k, seed };
    return graph_emit(g, &op_hash_ids, &a, ids);
}

static int infer(struct node *n, struct err *e)
{
    const struct hash_ids_attr *at = n->attr;
    if (at->k > at->experts)
        return err_set(e, "k = %lld, there are %lld experts", (long long)at->k, (long long)at->experts);
    node_value(n, DTYPE_I32, SHAPE(shape_count(n->in[0]->shape), at->k));
    return 0;
}

static uint32_t divisor(uint32_t x, uint32_t y) { return y == 0 ? x : divisor(y, x % y); }

static uint32_t prime_to(uint32_t experts, uint32_t bits)
{
    uint32_t x = 1 + bits % experts;
    while (divisor(x, experts) != 1) x++;
    return x;
}

static void tokens(const struct args *a, int64_t from, int64_t to)
{
    const struct hash_ids_attr *at = a->attr;
    uint32_t experts = (uint32_t)at->experts, bits[4];
    for (int64_t t = from; t < to; t++) {
        uint32_t id = (uint32_t)ints(&a->in[0])[t];
        key_bits((struct key){ at->seed, PURPOSE_HASH, 0, 0 }, id / experts, bits);
        uint64_t first = (uint64_t)prime_to(experts, bits[0]) * id + bits[1],
                 step = prime_to(experts, bits[2]);
        for (int64_t j = 0; j < at->k; j++)
            ints(&a->out[0])[t * at->k + j] = (int32_t)((first + step * (uint64_t)j) % experts);
    }
}

static void forward(const struct args *a) { each(a, shape_count(a->in[0].shape), 1024, tokens); }

KERNELS(hash_ids) = { forward, NULL, NULL };

ATTRIBUTES(hash_ids, struct hash_ids_attr,
    INT(struct hash_ids_attr, experts, NEEDED, 1, INT32_MAX, "", "there are"),
    INT(struct hash_ids_attr, k, NEEDED, 1, INT32_MAX, "", "of each token"),
    INT(struct hash_ids_attr, seed, NEEDED, -HUGE_VAL, HUGE_VAL, "", "of the hash"));
OP(hash_ids, .inputs = "ids:I32[B,S]",
   .outputs = "index:I32[T,K]",
   .about = "experts of a token by its id alone, distinct; equally many ids for each",
   ATTR(hash_ids), .infer = infer);
