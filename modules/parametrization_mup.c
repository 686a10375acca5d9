/* Maximal update parametrization (muP): what init and rates are set to is for a model of the width base_d_model, and
   holds at others, because no width makes activations, nor what a step changes of them, larger or smaller. Of a weight
   that reads n times as much as in the base, in a model m times as wide, relative to that:
       reads                         initial values   logits   rate of AdamW, Lion   of SGD   eps
       tokens, channels, ranks       1                         1                     m        1 / m
       the stream, feed-forwards     1 / sqrt(n)               1 / n                 m / n    1 / m
       the stream, to say logits     1                1 / m    1                     m        1 / m
   Muon moves hidden matrices with scale = "spectral" alike at every width. Every gradient is m times as small, for
   logits are, which eps follows. Weights decay as before: by as much more as their rate is smaller. Yang 2022
   (arXiv 2203.03466); a router is read out like the head (Malasnicki 2025, arXiv 2508.09752).
   What grows with d_model are the numbers of heads, at one width of each, ranks of latent attention and of latent
   experts; feed-forwards too where base_d_ff does not say what they are in the base. */
#include "model/module.h"
#include <math.h>

struct conf { int base_d_model, base_d_ff; };
static const struct param params[] = {
    INT(struct conf, base_d_model, 64, 1, 65536, "", "d_model of the model for which init and rates are set"),
    INT(struct conf, base_d_ff, 0, 0, 1 << 20, "",
        "width of its feed-forwards and experts; 0: in proportion to d_model"),
    { 0 }
};

static double inputs(const struct conf *c, double model, int64_t now, enum weight_reads reads)
{
    if (reads == READS_SAME) return 1;
    return reads == READS_HIDDEN && c->base_d_ff ? (double)now / c->base_d_ff : model;
}

static struct scaling scaling(struct pick self, const struct model_conf *conf, enum weight_reads reads, int64_t now,
                              enum stepping stepping)
{
    const struct conf *c = self.conf;
    double model = (double)conf->d_model / c->base_d_model, wider = inputs(c, model, now, reads);
    bool out = reads == READS_OUT;
    struct scaling s = { model, wider, out ? 1 : 1 / sqrt(wider), out ? 1 / model : 1, out ? 1 : 1 / wider, 1 / model };
    if (stepping == STEPPING_GRADIENT) s.rate *= model;
    if (stepping == STEPPING_SPECTRAL) s.rate = 1;
    return s;
}

const struct module parametrization_mup = {
    .slot = SLOT_PARAMETRIZATION, .name = "mup", .about = "for a base width, so that they hold at others",
    .conf_size = sizeof(struct conf), .params = params, .scaling = scaling,
};
