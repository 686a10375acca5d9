/* Greedy by size: the largest first, each at the lowest offset that is free while it is live. */
#include "offsets.h"

#include <stdlib.h>

static const struct span *by_size;

static int larger_first(const void *a, const void *b)
{
    const struct span *x = &by_size[*(const int *)a], *y = &by_size[*(const int *)b];
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return *(const int *)a - *(const int *)b;
}

size_t offsets_assign(struct span *s, int n)
{
    int *order = xmalloc((size_t)(n + 1) * sizeof *order), *placed = xmalloc((size_t)(n + 1) * sizeof *placed),
        n_placed = 0;
    size_t end = 0;
    for (int i = 0; i < n; i++) order[i] = i;
    by_size = s;
    qsort(order, (size_t)n, sizeof *order, larger_first);
    for (int i = 0; i < n; i++) {
        struct span *now = &s[order[i]];
        size_t bytes = offsets_round(now->bytes), at = 0;
        /* placed[] is sorted by offset: the first gap between neighbours in time will do. */
        for (int k = 0; k < n_placed; k++) {
            const struct span *other = &s[placed[k]];
            if (other->to < now->from || now->to < other->from) continue;
            if (at + bytes <= other->offset) break;
            size_t past = other->offset + offsets_round(other->bytes);
            if (past > at) at = past;
        }
        now->offset = at;
        if (at + bytes > end) end = at + bytes;
        int k = n_placed++;
        for (; k > 0 && s[placed[k - 1]].offset > at; k--) placed[k] = placed[k - 1];
        placed[k] = order[i];
    }
    free(order);
    free(placed);
    return end;
}
