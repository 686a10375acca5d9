/* Pairs sorted by what they name: see named.cuh. */
#include "named.cuh"
#include "sort.cuh"

/* Where the pairs of each key begin: a thread writes what lies between the keys of its pair and of the one before. */
static __global__ void __launch_bounds__(BLOCK) named_begins(struct pairs p)
{
    for (int64_t i = first_item(); i <= p.n; i += all_items()) {
        int last = i < p.n ? p.key[p.order[i]] : (int)p.below + 1;
        for (int k = i > 0 ? p.key[p.order[i - 1]] + 1 : 0; k <= last; k++) p.begins[k] = (int)i;
    }
}

size_t pairs_bytes(int64_t n, int64_t below)
{
    return (size_t)(3 * n + below + 2) * sizeof(int32_t) + sort_scratch_bytes(n, below + 1);
}

struct pairs pairs_in(void *scratch, int64_t n, int64_t below)
{
    int32_t *at = (int32_t *)scratch;
    INVARIANT(n < 1ll << 31 && below < 1ll << 31, "%lld entries of an index to %lld rows", (long long)n,
              (long long)below);
    return { n, below, at, at + n, at + 3 * n, at + 2 * n };
}

void pairs_sort(const struct args *a, struct pairs *p)
{
    p->order = sort_positions(a, p->key, p->n, p->below + 1, p->order, p->spare, p->begins + p->below + 2);
    LAUNCH(a, named_begins, grid_for(a, p->n + 1, BLOCK), BLOCK, 0, *p);
}
