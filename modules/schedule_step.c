/* Linear warm-up, constant, and two falls by a factor, at shares of the run: DeepSeek 2024 (0.8 and 0.9, by 0.316 each;
   V2: 0.6 and 0.9). */
#include "model/module.h"
#include <math.h>

struct conf { struct warmup warmup; double first, second, factor; };
static const struct param params[] = {
    WARMUP(struct conf),
    REAL(struct conf, first, 0.8, 0, 1, "", "share of the run after which the rate falls"),
    REAL(struct conf, second, 0.9, 0, 1, "", "and falls again"),
    REAL(struct conf, factor, 0.316, 1e-6, 1, "", "what the rate is multiplied by, each time"),
    { 0 }
};

static int64_t after(double share, int64_t steps) { return (int64_t)share_up(share * (double)steps); }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    (void)model;
    if (c->second < c->first)
        module_problem(problems, path, "second", "%g: is before the first fall, at %g", c->second, c->first);
}

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    const struct conf *c = self.conf;
    (void)warmup;
    if (step < after(c->first, steps)) return 1;
    return step < after(c->second, steps) ? c->factor : c->factor * c->factor;
}

static int64_t peak_ends(struct pick self, int64_t steps)
{
    return after(((const struct conf *)self.conf)->first, steps) - 1;
}

static void traits(struct pick self, struct traits *t) { (void)self; t->jumps = true; }

const struct module schedule_step = {
    .slot = SLOT_SCHEDULE, .name = "step", .about = "warm-up, constant, two falls",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits,
    .schedule = factor, .peak_ends = peak_ends,
};
