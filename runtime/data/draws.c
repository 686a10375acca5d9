/* Draws one after the other. */
#include "draws.h"

#include <stdlib.h>
#include <string.h>

int draws_below(struct draws *d, int n) { return (int)key_below(d->key, d->next++, (uint64_t)n); }
int draws_from(struct draws *d, int low, int high) { return low + draws_below(d, high - low + 1); }
uint32_t draws_word(struct draws *d) { return (uint32_t)key_below(d->key, d->next++, 1ULL << 32); }
bool draws_chance(struct draws *d, double share) { return key_uniform(d->key, d->next++) < share; }

static void swap(int *a, int *b)
{
    int kept = *a;
    *a = *b;
    *b = kept;
}

void draws_shuffle(struct draws *d, int *value, int n)
{
    for (int i = n - 1; i > 0; i--) swap(&value[i], &value[draws_below(d, i + 1)]);
}

void draws_choose(struct draws *d, int n, int k, int *out)
{
    int *of = xmalloc((size_t)n * sizeof *of);
    for (int i = 0; i < n; i++) of[i] = i;
    for (int i = 0; i < k; i++) swap(&of[i], &of[i + draws_below(d, n - i)]);
    memcpy(out, of, (size_t)k * sizeof *out);
    free(of);
}

int draws_weighted(struct draws *d, const double *weight, int n)
{
    double all = 0, x, sum = 0;
    int last = 0;
    for (int i = 0; i < n; i++) all += weight[i];
    x = key_uniform(d->key, d->next++) * all;
    for (int i = 0; i < n; i++) {
        sum += weight[i];
        if (sum > x) return i;
        if (weight[i] > 0) last = i;
    }
    return last;
}
