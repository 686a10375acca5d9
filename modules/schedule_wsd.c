/* Warm-up, stable, decay over the last share of the run, to 0 where the step after its last would be: 1 - sqrt(x) or 1
   - x. Hu 2024 (MiniCPM); Hagele 2024. */
#include "model/module.h"
#include <math.h>

enum shape_of_decay { SQRT, LINEAR };
struct conf { int warmup; double decay; int shape; };
static const struct param params[] = {
    INT(struct conf, warmup, 0, 0, 1 << 30, "step", "steps of linear warm-up"),
    REAL(struct conf, decay, 0.2, 0, 1, "",
         "share of the run that decays; 0 is where the step after the last would be"),
    CHOICE(struct conf, shape, SQRT, "sqrt linear", "how it decays"),
    { 0 }
};

static double factor(struct pick self, int64_t step, int64_t steps)
{
    const struct conf *c = self.conf;
    if (step < c->warmup) return (double)(step + 1) / c->warmup;
    double from = (1 - c->decay) * (double)steps;
    if ((double)step <= from) return 1;
    double x = fmin(1, ((double)step - from) / ((double)steps - from));
    return 1 - (c->shape == SQRT ? sqrt(x) : x);
}

static int64_t peak_ends(struct pick self, int64_t steps)
{
    return (int64_t)floor((1 - ((const struct conf *)self.conf)->decay) * (double)steps + 1e-6);
}

static void traits(struct pick self, struct traits *t) { t->warmup = ((const struct conf *)self.conf)->warmup; }

const struct module schedule_wsd = {
    .slot = SLOT_SCHEDULE, .name = "wsd", .about = "warm-up, stable, decay",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits,
    .schedule = factor, .peak_ends = peak_ends,
};
