/* Linear warm-up, then half a cosine, down to `final` of the peak where the step after the last
   would be. Loshchilov 2016. */
#include "model/module.h"
#include <math.h>

struct conf { int warmup; double final; };
static const struct param params[] = {
    INT(struct conf, warmup, 0, 0, 1 << 30, "step", "steps of linear warm-up"),
    REAL(struct conf, final, 0.1, 0, 1, "",
         "share of the peak that the cosine ends at, where the step after the last would be"),
    { 0 }
};

static double factor(struct pick self, int64_t step, int64_t steps)
{
    const struct conf *c = self.conf;
    if (step < c->warmup) return (double)(step + 1) / c->warmup;
    double x = steps > c->warmup ? fmin(1, (double)(step - c->warmup) / (double)(steps - c->warmup)) : 1;
    return c->final + 0.5 * (1 - c->final) * (1 + cos(acos(-1) * x));
}

static void traits(struct pick self, struct traits *t) { t->warmup = ((const struct conf *)self.conf)->warmup; }

const struct module schedule_cosine = {
    .slot = SLOT_SCHEDULE, .name = "cosine", .about = "warm-up, then half a cosine",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .schedule = factor,
};
