/* Warm-up, stable, decay over the last share of the run, from 1 to f where the step after its last would be. With x
   from 0 to 1 over the decay:
       sqrt    1 - (1 - f) sqrt(x)                   Hagele 2024
       linear  1 - (1 - f) x
       cosine  f + (1 - f) (1 + cos(pi x)) / 2       DeepSeek-V3 2024, Kimi K2 2025
       exponential  f^x                              Hu 2024 (MiniCPM) */
#include "model/module.h"
#include <math.h>

struct conf { struct warmup warmup; double decay; int shape; double final; };
static const struct param params[] = {
    WARMUP(struct conf),
    REAL(struct conf, decay, 0.2, 0, 1, "",
         "share of the run that decays; its end is where the step after the last would be"),
    CHOICE(struct conf, shape, DECAY_SQRT, DECAY_SHAPES, "how it decays"),
    REAL(struct conf, final, 0, 0, 1, "", "share of the peak that it ends at"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    schedule_check_decay(c->shape, c->final, path, problems);
}

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    const struct conf *c = self.conf;
    double from = (1 - c->decay) * (double)steps;
    (void)warmup;
    if ((double)step <= from) return 1;
    return schedule_decay(c->shape, c->final, fmin(1, ((double)step - from) / ((double)steps - from)));
}

static int64_t peak_ends(struct pick self, int64_t steps)
{
    return (int64_t)floor((1 - ((const struct conf *)self.conf)->decay) * (double)steps + 1e-6);
}

const struct module schedule_wsd = {
    .slot = SLOT_SCHEDULE, .name = "wsd", .about = "warm-up, stable, decay",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .schedule = factor, .peak_ends = peak_ends,
};
