/* Loss-free balancing: after a step an expert that got less than its share becomes likelier, one that got more less
   likely. bias_i += rate * sign(mean(counts) - counts_i). Wang 2024; DeepSeek-V3. The range is that of
   the biases that the counts came from. */
#include "op.h"

enum { BIAS, COUNTS, CLIP };

struct attr { double rate; };

VERB struct node *bias_step(struct graph *g, struct node *bias, struct node *counts, struct node *clip, double rate)
{
    struct attr a = { rate };
    return graph_emit(g, &op_bias_step, &a, bias, counts, clip);
}

static int infer(struct node *n, struct err *e)
{
    (void)e;
    node_value(n, DTYPE_REAL, SHAPE(1));
    return 0;
}

/* sum - E*n has the sign of mean - n and, for counts, no rounding: an expert at the mean stays where it is. */
static int direction(double sum, double experts, double count)
{
    double lack = sum - experts * count;
    return (lack > 0) - (lack < 0);
}

static void update(real *bias, const real *counts, int64_t experts, const struct attr *at)
{
    double sum = 0;
    for (int64_t i = 0; i < experts; i++) sum += (double)counts[i];
    for (int64_t i = 0; i < experts; i++)
        bias[i] += (real)(at->rate * direction(sum, (double)experts, (double)counts[i]));
}

static void forward(const struct args *a)
{
    int64_t experts = a->in[BIAS].shape.dim[0];
    real *bias = reals(&a->in[BIAS]);
    real low = bias[0], high = bias[0];
    for (int64_t i = 1; i < experts; i++) low = bias[i] < low ? bias[i] : low, high = bias[i] > high ? bias[i] : high;
    reals(&a->out[0])[0] = high - low;
    if (reals(&a->in[CLIP])[1] != 0) update(bias, reals(&a->in[COUNTS]), experts, a->attr);
}

KERNELS(bias_step) = { forward, NULL, NULL };

ATTRIBUTES(bias_step, struct attr,
    REAL(struct attr, rate, NEEDED, 0, HUGE_VAL, "", "of a step"));
OP(bias_step, .inputs = "bias*:REAL[E] counts:REAL[E] clip:REAL[2]",
   .outputs = "range:REAL[1]",
   .about = "moves each bias by rate towards an equal load; max - min of the bias, before",
   ATTR(bias_step), .infer = infer);
