/* Hashed n-grams, and how many of them collide. The order of n-grams is small: a few integer operations a
   token, bound by latency. */
#include "kernel.cuh"

enum { IDS, START, POS };                                   /* inputs of ngram; IDS and START of collision_rate */

/* The token `back` before position p of a sequence whose document begins at `start`. */
static __device__ inline int token_before(const int32_t *ids, int p, int back, int start, int pad)
{
    return p - back >= start ? ids[p - back] : pad;
}

/* ---- ngram: the row of a table that a token and the order - 1 before it share ---- */

/* x mod rows by the reciprocal floor((2^64-1) / rows); x below 2^63: the quotient is right or one too small. */
static __device__ inline uint64_t residue(uint64_t x, uint64_t rows, uint64_t reciprocal)
{
    uint64_t rest = x - __umul64hi(x, reciprocal) * rows;
    return rest < rows ? rest : rest - rows;
}

static __global__ void __launch_bounds__(BLOCK)
ngram_rows(const int32_t *ids, const int32_t *start, const int32_t *pos, int32_t *out, int tokens, int s, int room,
           struct ngram_attr at, uint64_t reciprocal, struct fault *fault)
{
    for (int t = (int)first_item(); t < tokens; t += (int)all_items()) {
        int sequence = t / s, p = (pos ? *pos : 0) + t % s;
        uint64_t gram = 0;
        if (!legal(fault, FAULT_POSITION, p, room) || !legal(fault, FAULT_DOCUMENT, start[t], room)) {
            out[t] = 0;
            continue;
        }
        for (int back = (int)at.order - 1; back >= 0; back--) {
            int token = token_before(ids + (int64_t)sequence * room, p, back, start[t], (int)at.pad);
            if (at.hash == HASH_XOR) gram ^= token * (uint64_t)(back == 0 ? at.by0 : back == 1 ? at.by1 :
                                                                back == 2 ? at.by2 : at.by3);
            else gram = gram * at.vocab + token;
            if (at.hash == HASH_MUL32) gram = (uint32_t)gram;
            if (at.hash == HASH_MOD) gram = residue(gram, at.rows, reciprocal);
        }
        if (at.hash == HASH_MUL32) gram = (uint32_t)(gram * 2654435761u);
        out[t] = (int32_t)residue(gram, at.rows, reciprocal);
    }
}

static void ngram(const struct args *a)
{
    const struct ngram_attr *at = (const struct ngram_attr *)a->attr;
    int tokens = (int)shape_count(a->out[0].shape);
    LAUNCH(a, ngram_rows, grid_for(a, tokens, BLOCK), BLOCK, 0, ints(&a->in[IDS]), ints(&a->in[START]),
           a->in[POS].data ? ints(&a->in[POS]) : NULL, ints(&a->out[0]), tokens, (int)a->in[START].shape.dim[1],
           (int)a->in[IDS].shape.dim[1], *at, UINT64_MAX / at->rows, device_of(a)->fault);
}

TWIN(ngram, ngram);

/* ---- collision_rate: of the distinct n-grams of a batch, the share that shares its row with another one ---- */

/* Two hash tables of at least twice as many slots as tokens, linear probing. gram: a token of each distinct n-gram;
   which one depends on the threads' order, that there is one does not. row: the rows that are in use; grams: how many
   distinct n-grams each has. */
struct slots { int bits; int32_t *gram, *row, *grams; };
enum { FREE = -1 };

struct batch { const int32_t *ids, *start, *index; int tokens, s, order; };

static __device__ inline int digit(const struct batch &b, int token, int back)
{
    return token_before(b.ids + token / b.s * b.s, token % b.s, back, b.start[token], 0);
}

static __device__ inline uint32_t gram_hash(const struct batch &b, int token)
{
    uint32_t hash = 0;
    for (int back = 0; back < b.order; back++) hash = (hash ^ digit(b, token, back)) * 2654435761u + (hash >> 15);
    return hash * 2654435761u;
}

static __device__ inline bool same_gram(const struct batch &b, int t, int u)
{
    for (int back = 0; back < b.order; back++) if (digit(b, t, back) != digit(b, u, back)) return false;
    return true;
}

static __global__ void __launch_bounds__(BLOCK) collision_rate_insert(struct batch b, struct slots slots)
{
    uint32_t mask = (1u << slots.bits) - 1;
    for (int t = (int)first_item(); t < b.tokens; t += (int)all_items()) {
        uint32_t slot = gram_hash(b, t) >> (32 - slots.bits);
        int found;
        while ((found = atomicCAS(&slots.gram[slot], FREE, t)) != FREE && !same_gram(b, t, found))
            slot = (slot + 1) & mask;
        if (found != FREE) continue;
        int row = b.index[t];
        slot = (row * 2654435761u) >> (32 - slots.bits);
        while ((found = atomicCAS(&slots.row[slot], FREE, row)) != FREE && found != row) slot = (slot + 1) & mask;
        atomicAdd(&slots.grams[slot], 1);
    }
}

static __global__ void __launch_bounds__(1024) collision_rate_count(const int32_t *grams, int slots, float *out)
{
    int distinct = 0, sharing = 0;
    for (int slot = threadIdx.x; slot < slots; slot += blockDim.x) {
        distinct += grams[slot];
        sharing += grams[slot] > 1 ? grams[slot] : 0;
    }
    distinct = block_sum(distinct);
    sharing = block_sum(sharing);
    if (threadIdx.x == 0) *out = (float)((double)sharing / distinct);
}

static int slot_bits(const struct args *a)
{
    int bits = 1;
    while (1ll << bits < 2 * shape_count(a->in[0].shape)) bits++;
    INVARIANT(bits < 31, "collision_rate of %lld tokens", (long long)shape_count(a->in[0].shape));
    return bits;
}

static size_t collision_rate_scratch(const struct args *a) { return 3 * (sizeof(int32_t) << slot_bits(a)); }

static void collision_rate(const struct args *a)
{
    int bits = slot_bits(a), slots = 1 << bits;
    int32_t *scratch = (int32_t *)a->scratch;
    struct slots table = { bits, scratch, scratch + slots, scratch + 2 * slots };
    struct batch b = { ints(&a->in[IDS]), ints(&a->in[START]), ints(&a->in[2]), (int)shape_count(a->in[0].shape),
                       (int)a->in[0].shape.dim[1], (int)((const struct collision_rate_attr *)a->attr)->order };
    CUDA(cudaMemsetAsync(table.gram, 0xFF, 2 * slots * sizeof(int32_t), device_of(a)->stream));     /* FREE */
    CUDA(cudaMemsetAsync(table.grams, 0, slots * sizeof(int32_t), device_of(a)->stream));
    LAUNCH(a, collision_rate_insert, grid_for(a, b.tokens, BLOCK), BLOCK, 0, b, table);
    LAUNCH(a, collision_rate_count, 1, 1024, 0, table.grams, slots, reals(&a->out[0]));
}

TWIN(collision_rate, collision_rate, NULL, NULL, collision_rate_scratch);
