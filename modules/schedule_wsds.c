/* Warm-up and several horizons in one run, each twice as long as the one before and the last at the run's end: every
   one ends as wsd does, over a share of its own length, and the next goes on from what has decayed, at the full rate.
   Wen 2024 (WSD-S, arXiv 2410.05192). A step before each end, weights are those of a run of that length, but for the
   decays before. */
#include "model/module.h"
#include <math.h>

struct conf { struct warmup warmup; int horizons; double decay; int shape; double final; };
static const struct param params[] = {
    WARMUP(struct conf),
    INT(struct conf, horizons, 3, 1, 30, "", "ends of a decay: of 3 at a quarter, at half and at the end of the run"),
    REAL(struct conf, decay, 0.1, 0, 1, "", "share of a horizon's own steps that decays"),
    CHOICE(struct conf, shape, DECAY_LINEAR, DECAY_SHAPES, "how it decays, as wsd"),
    REAL(struct conf, final, 0, 0, 1, "", "share of the peak that it ends at"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    schedule_check_decay(c->shape, c->final, path, problems);
}

/* Where horizon i, counted from the last, ends. */
static double end_of(int i, int64_t steps) { return ldexp((double)steps, -i); }

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    const struct conf *c = self.conf;
    (void)warmup;
    int i = c->horizons - 1;
    while (i > 0 && (double)step >= end_of(i, steps)) i--;
    double end = end_of(i, steps), begin = i == c->horizons - 1 ? 0 : end_of(i + 1, steps),
           from = end - c->decay * (end - begin);
    return (double)step <= from ? 1 : schedule_decay(c->shape, c->final, fmin(1, ((double)step - from) / (end - from)));
}

static int64_t peak_ends(struct pick self, int64_t steps)
{
    const struct conf *c = self.conf;
    return (int64_t)floor((1 - c->decay) * end_of(c->horizons - 1, steps) + 1e-6);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->jumps = true; }

const struct module schedule_wsds = {
    .slot = SLOT_SCHEDULE, .name = "wsds", .about = "warm-up, and several decays in one run, each back to the peak",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits,
    .schedule = factor, .peak_ends = peak_ends,
};
