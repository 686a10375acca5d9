/* Loss-free balancing: after a step an expert that got less than its share becomes likelier, one that got more less
   likely. bias_i += rate * sign(mean(counts) - counts_i), or rate * (mean - counts_i) / mean; targets may stand for the
   mean. Wang 2024; DeepSeek-V3; centred: Moonlight. The range is that of the biases that the counts came from. */
#define VERBS "graph/ops/update.h"
#include "op.h"

enum { BIAS, COUNTS, CLIP, TARGET };

VERB struct node *bias_step(struct graph *g, struct node *bias, struct node *counts, struct node *clip,
                            struct node *target, struct bias_step_attr a)
{
    return graph_emit(g, &op_bias_step, &a, bias, counts, clip, target);
}

/* What is wanted: the sum of counts and their number, or the target and 1. want - share*n has the sign of mean - n and,
   for counts, no rounding: an expert at the mean stays where it is. */
static double step_of(const struct bias_step_attr *at, double want, double share, double count)
{
    double lack = want - share * count;
    if (at->rule == BIAS_SIGN) return (lack > 0) - (lack < 0);
    return want > 0 ? lack / want : 0;
}

static void update(const struct args *a)
{
    const struct bias_step_attr *at = a->attr;
    int64_t experts = a->in[BIAS].shape.dim[0];
    const real *counts = reals(&a->in[COUNTS]), *target = a->in[TARGET].data;
    real *bias = reals(&a->in[BIAS]);
    double sum = 0, mean = 0, step[experts];
    for (int64_t i = 0; i < experts; i++) sum += (double)counts[i];
    for (int64_t i = 0; i < experts; i++) {
        step[i] = target ? step_of(at, (double)target[i], 1, (double)counts[i])
                         : step_of(at, sum, (double)experts, (double)counts[i]);
        mean += step[i] / (double)experts;
    }
    for (int64_t i = 0; i < experts; i++) {
        real moved = bias[i] + (real)(at->rate * (step[i] - (at->centred ? mean : 0)));
        bias[i] = moved < (real)at->low ? (real)at->low : moved > (real)at->high ? (real)at->high : moved;
    }
}

static void forward(const struct args *a)
{
    int64_t experts = a->in[BIAS].shape.dim[0];
    real *bias = reals(&a->in[BIAS]);
    real low = bias[0], high = bias[0];
    for (int64_t i = 1; i < experts; i++) low = bias[i] < low ? bias[i] : low, high = bias[i] > high ? bias[i] : high;
    reals(&a->out[0])[0] = high - low;
    if (reals(&a->in[CLIP])[1] != 0) update(a);
}

KERNELS(bias_step) = { forward, NULL, NULL };

ATTRIBUTES(bias_step, struct bias_step_attr,
    REAL(struct bias_step_attr, rate, NEEDED, 0, HUGE_VAL, "", "of a step"),
    REAL(struct bias_step_attr, low, NEEDED, -HUGE_VAL, HUGE_VAL, "", "the least that a bias becomes"),
    REAL(struct bias_step_attr, high, NEEDED, -HUGE_VAL, HUGE_VAL, "", "the most"),
    CHOICE(struct bias_step_attr, rule, NEEDED, "sign proportional", "1 or -1; what is lacking, in shares of the mean"),
    BOOL(struct bias_step_attr, centred, NEEDED, "steps sum to 0"));
OP(bias_step, .inputs = "bias*:REAL[E] counts:REAL[E] clip:REAL[2] target?:REAL[E]",
   .outputs = "range:REAL[1]",
   .about = "moves each bias by rate towards an equal load, or towards the target; max - min of the bias, before",
   ATTR(bias_step), .infer = infer_number);
