/* Hash routing: see runtime/ops/hash_ids.c. A thread takes a token; some dozens of integer operations each, latency
   bounds it. */
#include "kernel.cuh"
#include "base/draw.h"

static __device__ inline uint32_t prime_to(uint32_t experts, uint32_t bits)
{
    for (uint32_t x = 1 + bits % experts;; x++) {
        uint32_t divisor = x, rest = experts;
        while (rest) {
            uint32_t next = divisor % rest;
            divisor = rest;
            rest = next;
        }
        if (divisor == 1) return x;
    }
}

static __global__ void __launch_bounds__(BLOCK)
hash_experts(const int32_t *ids, int32_t *index, int tokens, uint32_t experts, int k, uint64_t mixed)
{
    for (int64_t t = first_item(); t < tokens; t += all_items()) {
        uint32_t id = (uint32_t)ids[t];
        philox4x32_ctr_t bits = draw_bits(mixed, id / experts, 0);
        uint64_t expert = (uint64_t)prime_to(experts, bits.v[0]) * id + bits.v[1];
        uint32_t step = prime_to(experts, bits.v[2]);
        for (int j = 0; j < k; j++, expert += step) index[t * k + j] = (int32_t)(expert % experts);
    }
}

static void hash_tokens(const struct args *a)
{
    const struct hash_ids_attr *at = (const struct hash_ids_attr *)a->attr;
    int64_t tokens = shape_count(a->in[0].shape);
    LAUNCH(a, hash_experts, grid_for(a, tokens, BLOCK), BLOCK, 0, ints(&a->in[0]), ints(&a->out[0]), (int)tokens,
           (uint32_t)at->experts, (int)at->k, key_mixed({ at->seed, PURPOSE_HASH, 0, 0 }));
}

TWIN(hash_ids, hash_tokens);
