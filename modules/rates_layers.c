/* Learning rates by layer: lr times a factor that goes from `first`, of layer 0, to `last`, of the last layer, by the
   same ratio from each to the next. Layer-wise decay of the rate is a `first` below 1 (ULMFiT, Howard 2018). What is
   in no layer keeps lr; blocks of multi-token prediction are as the last. */
#include "model/module.h"
#include <math.h>

struct conf { double first, last; };
static const struct param params[] = {
    REAL(struct conf, first, 1, 1e-6, 1e6, "", "factor of the first layer"),
    REAL(struct conf, last, 1, 1e-6, 1e6, "", "factor of the last layer"),
    { 0 }
};

static double rate(struct build *b, struct pick self, const struct leaf *w)
{
    const struct conf *c = self.conf;
    int last = b->layers - 1, layer = w->layer < last ? w->layer : last;
    if (layer < 0) return 1;
    return c->first * pow(c->last / c->first, last ? (double)layer / last : 0);
}

const struct module rates_layers = {
    .slot = SLOT_RATES, .name = "layers", .about = "by layer, from the first to the last",
    .conf_size = sizeof(struct conf), .params = params, .rate = rate,
};
