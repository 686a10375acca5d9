/* Sinks of attention: the mean of their shares p0 = 2^(sink - lse), and gradients -p0 delta, as a sink has a score and
   no value. Bound by memory: lse and delta are read once. */
#include "attention.cuh"

static __device__ inline float sink_share(const struct sizes &s, int64_t row, const float *lse)
{
    return power_of_two(sink_of(s, row) - lse[row]);
}

/* A block for each head: factor times the sum over tokens of p0 delta, or of p0 where delta is NULL. */
static __global__ void __launch_bounds__(BLOCK)
attention_sink_heads(struct sizes s, int64_t tokens, const float *lse, const float *delta, struct sum to, float factor)
{
    float sum = 0;
    for (int64_t t = threadIdx.x; t < tokens; t += BLOCK) {
        int64_t row = t * s.heads + blockIdx.x;
        sum += sink_share(s, row, lse) * (delta ? delta[row] : 1);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) add(to, blockIdx.x, factor * sum);
}

static __global__ void __launch_bounds__(BLOCK)
attention_sink_rows(struct sizes s, int64_t rows, const float *lse, const float *delta, struct sum to)
{
    for (int64_t row = first_item(); row < rows; row += all_items())
        add(to, row, -sink_share(s, row, lse) * delta[row]);
}

static int64_t tokens_of(const struct args *a) { return shape_count(a->in[START].shape); }

void attention_sink_forward(const struct args *a, struct sizes s)
{
    struct sum mass = { view_of(a->out[SINK_MASS]), 0 };
    LAUNCH(a, attention_sink_heads, s.heads, BLOCK, 0, s, tokens_of(a), (const float *)a->save[LSE].data, NULL, mass,
           1 / (float)tokens_of(a));
}

void attention_sink_backward(const struct args *a, struct sizes s, const float *delta)
{
    const float *lse = (const float *)a->save[LSE].data;
    int64_t rows = tokens_of(a) * s.heads;
    if (s.sink_of_token)
        LAUNCH(a, attention_sink_rows, grid_for(a, rows, BLOCK), BLOCK, 0, s, rows, lse, delta, sum_of(a, SINK));
    else
        LAUNCH(a, attention_sink_heads, s.heads, BLOCK, 0, s, tokens_of(a), lse, delta, sum_of(a, SINK), -1);
}
