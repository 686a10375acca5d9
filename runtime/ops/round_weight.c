/* A weight's values become those of bf16 after a step: the nearest ones, of two the even; or with a key stochastically,
   the next above with the probability with which they are the mean: P(up) = (w - below) / (above - below), so that
   small steps are not lost (Gupta 2015, arXiv 1502.02551). Value i goes by half i % 8 of Philox at index i / 8 and the
   number of the step, so that no bit depends on the backend, or on where a run was resumed. */
#define VERBS "graph/ops/update.h"
#include "op.h"
#include "base/draw.h"

enum { W, KEY, STEP, CLIP };
enum { EIGHT = 8, GRAIN = 8192 };

VERB struct node *round_weight(struct graph *g, struct node *w, struct node *key, struct node *step, struct node *clip)
{
    return graph_emit(g, &op_round_weight, NULL, w, key, step, clip);
}

static real rounded(real value, uint32_t below)
{
    uint32_t bits = bits_of_float((float)value);
    return (bits & 0x7F800000u) == 0x7F800000u ? value : (real)float_of_bits((bits + below) & 0xFFFF0000u);
}

static void nearest(real *w, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) w[i] = rounded(w[i], 0x7FFF + (bits_of_float((float)w[i]) >> 16 & 1));
}

static void stochastic(const struct args *a, real *w, int64_t from, int64_t to)
{
    uint64_t key = draw_key((float)reals(&a->in[KEY])[0], (float)reals(&a->in[KEY])[1]),
             step = (uint64_t)reals(&a->in[STEP])[0];
    for (int64_t i = from; i < to; i += EIGHT) {
        philox4x32_ctr_t bits = draw_bits(key, (uint64_t)i / EIGHT, step);
        for (int k = 0; k < EIGHT && i + k < to; k++)
            w[i + k] = rounded(w[i + k], bits.v[k / 2] >> k % 2 * 16 & 0xFFFF);
    }
}

static void some(const struct args *a, int64_t from, int64_t to)
{
    if (a->in[KEY].data) stochastic(a, reals(&a->in[W]), from, to);
    else nearest(reals(&a->in[W]), from, to);
}

static void forward(const struct args *a)
{
    reals(&a->out[0])[0] = reals(&a->in[CLIP])[1];
    if (reals(&a->in[CLIP])[1] != 0) each(a, shape_count(a->in[W].shape), GRAIN, some);
}

KERNELS(round_weight) = { forward, NULL, NULL };
OP(round_weight, .inputs = "w*:REAL[..] key?:REAL[2] step:REAL[1] clip:REAL[2]",
   .outputs = "counts:REAL[1]",
   .about = "the values of w become those of bf16, where clip says that the step counts: the nearest, or as chance has "
            "it by a key, bits of two numbers within 0 and 1; 1, or 0 for a step that is skipped",
   .infer = infer_number);
