/* Warm-up and several horizons in one run, each twice as long as the one before and the last at the run's end: every
   one ends as wsd does, over a share of its own length, and the next goes on from what has decayed, at the full rate.
   Wen 2024 (WSD-S, arXiv 2410.05192). A step before each end, weights are those of a run of that length, but for the
   decays before. */
#include "model/module.h"
#include <math.h>

struct conf { struct warmup warmup; int horizons; struct cooldown cooldown; };
static const struct param params[] = {
    WARMUP(struct conf),
    INT(struct conf, horizons, 3, 1, 30, "", "ends of a decay: of 3 at a quarter, at half and at the end of the run"),
    COOLDOWN(struct conf, 0.1, DECAY_LINEAR, "share of a horizon's own steps that decays"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    schedule_check_cooldown(&((const struct conf *)self.conf)->cooldown, path, problems);
}

/* Where horizon i, counted from the last, ends. */
static double end_of(int i, int64_t steps) { return ldexp((double)steps, -i); }

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    const struct conf *c = self.conf;
    int first = c->horizons - 1, i = first;
    (void)warmup;
    while (i > 0 && (double)step >= end_of(i, steps)) i--;
    return schedule_cooldown(&c->cooldown, i == first ? 0 : end_of(i + 1, steps), end_of(i, steps), step);
}

static int64_t peak_ends(struct pick self, int64_t steps)
{
    const struct conf *c = self.conf;
    return schedule_peak_ends(&c->cooldown, end_of(c->horizons - 1, steps));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->jumps = true; }

const struct module schedule_wsds = {
    .slot = SLOT_SCHEDULE, .name = "wsds", .about = "warm-up, and several decays in one run, each back to the peak",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits,
    .schedule = factor, .peak_ends = peak_ends,
};
