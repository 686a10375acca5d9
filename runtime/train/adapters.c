/* A weight with its adapter. */
#include "adapters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The factor `which` of weight "x.weight": "x.WHICH.weight"; NULL: it has none. */
static const struct leaf *factor_of(const struct leaves *l, const struct leaf *w, const char *which)
{
    char path[512];
    size_t length = strlen(w->path), tail = strlen("weight");
    if (length < tail || strcmp(w->path + length - tail, "weight") != 0) return NULL;
    snprintf(path, sizeof path, "%.*s%s.weight", (int)(length - tail), w->path, which);
    return leaves_find(l, path);
}

static real *values_of(struct state *s, const struct leaf *w)
{
    real *values = xmalloc((size_t)shape_count(w->values) * sizeof *values);
    state_get_values(s, w, values);
    return values;
}

/* w [out,in] += by b [out,rank] a [rank,in] */
static void add_product(int64_t out, int64_t in, int64_t rank, double by, const real *b, const real *a, real *w)
{
    double *sum = xmalloc((size_t)in * sizeof *sum);
    for (int64_t o = 0; o < out; o++) {
        memset(sum, 0, (size_t)in * sizeof *sum);
        for (int64_t r = 0; r < rank; r++)
            for (int64_t i = 0; i < in; i++) sum[i] += (double)b[o * rank + r] * (double)a[r * in + i];
        for (int64_t i = 0; i < in; i++) w[o * in + i] = (real)((double)w[o * in + i] + by * sum[i]);
    }
    free(sum);
}

void adapters_values(struct pick adapter, const struct leaves *l, struct state *s, const struct leaf *w, real *to)
{
    const struct leaf *down = factor_of(l, w, "lora_a"), *up = factor_of(l, w, "lora_b");
    state_get_values(s, w, to);
    if (!down || !up) return;
    int64_t in = shape_last(w->values), out = w->values.dim[w->values.rank - 2],
            rank = shape_last(up->values), experts = shape_count(w->values) / (out * in);
    real *a = values_of(s, down), *b = values_of(s, up);
    for (int64_t e = 0; e < experts; e++)
        add_product(out, in, rank, adapter.module->factor(adapter), b + e * out * rank, a + e * rank * in,
                    to + e * out * in);
    free(a);
    free(b);
}
