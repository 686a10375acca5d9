/* NF4 on the host. */
#include "nf4.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float level[NF4_LEVELS] = NF4_TABLE;

/* The number of the level that is nearest to x. */
static int nearest(float x)
{
    int number = 0;
    for (int k = 0; k + 1 < NF4_LEVELS; k++) number += x > (level[k] + level[k + 1]) / 2;
    return number;
}

static float largest(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The sizes of blocks as bytes. */
static void quantise_sizes(const struct nf4 *p, int64_t blocks, const float *size, unsigned char *to)
{
    float *floats = (float *)(void *)to, left[NF4_BLOCKS];
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++) sum += size[b];
    float mean = (float)(sum / (double)blocks);
    floats[p->mean / 4] = mean;
    for (int64_t from = 0; from < blocks; from += NF4_BLOCKS) {
        int64_t n = least(NF4_BLOCKS, blocks - from);
        for (int64_t i = 0; i < n; i++) left[i] = size[from + i] - mean;
        float scale = largest(left, n) / 127;
        floats[p->scales / 4 + from / NF4_BLOCKS] = scale;
        for (int64_t i = 0; i < n; i++)
            to[p->sizes + from + i] = (unsigned char)(signed char)(scale > 0 ? lrintf(left[i] / scale) : 0);
    }
}

void nf4_quantise(enum kept_as kept, int64_t n, const float *values, unsigned char *to)
{
    struct nf4 p = nf4_places(kept, n);
    int64_t blocks = (n + NF4_BLOCK - 1) / NF4_BLOCK;
    float *size = p.twice ? xmalloc((size_t)blocks * sizeof *size) : (float *)(void *)(to + p.sizes);
    memset(to, 0, (size_t)p.sizes);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t from = b * NF4_BLOCK, end = least(n, from + NF4_BLOCK);
        size[b] = largest(values + from, end - from);
        for (int64_t i = from; i < end; i++) {
            int number = size[b] > 0 ? nearest(values[i] / size[b]) : NF4_ZERO;
            to[i / 2] |= (unsigned char)(i % 2 ? number : number << 4);
        }
    }
    if (!p.twice) return;
    quantise_sizes(&p, blocks, size, to);
    free(size);
}

void nf4_values(enum kept_as kept, int64_t n, const unsigned char *from, float *to)
{
    struct nf4 p = nf4_places(kept, n);
    for (int64_t i = 0; i < n; i++) to[i] = level[nf4_number(from, i)] * nf4_size_of(&p, from, i / NF4_BLOCK);
}
