/* Warm-up, stable, decay over the last share of the run, from 1 to f where the step after its last would be. With x
   from 0 to 1 over the decay:
       sqrt    1 - (1 - f) sqrt(x)                   Hagele 2024
       linear  1 - (1 - f) x
       cosine  f + (1 - f) (1 + cos(pi x)) / 2       DeepSeek-V3 2024, Kimi K2 2025
       exponential  f^x                              Hu 2024 (MiniCPM) */
#include "model/module.h"

struct conf { struct warmup warmup; struct cooldown cooldown; };
static const struct param params[] = {
    WARMUP(struct conf),
    COOLDOWN(struct conf, 0.2, DECAY_SQRT,
             "share of the run that decays; its end is where the step after the last would be"),
    { 0 }
};

static const struct cooldown *cooldown(struct pick self) { return &((const struct conf *)self.conf)->cooldown; }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    schedule_check_cooldown(cooldown(self), path, problems);
}

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    (void)warmup;
    return schedule_cooldown(cooldown(self), 0, (double)steps, step);
}

static int64_t peak_ends(struct pick self, int64_t steps) { return schedule_peak_ends(cooldown(self), (double)steps); }

const struct module schedule_wsd = {
    .slot = SLOT_SCHEDULE, .name = "wsd", .about = "warm-up, stable, decay",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .schedule = factor, .peak_ends = peak_ends,
};
