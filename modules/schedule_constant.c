/* Linear warm-up, then constant. */
#include "model/module.h"

struct conf { int warmup; };
static const struct param params[] = {
    INT(struct conf, warmup, 0, 0, 1 << 30, "step", "steps of linear warm-up"),
    { 0 }
};

static double factor(struct pick self, int64_t step, int64_t steps)
{
    (void)steps;
    int warmup = ((const struct conf *)self.conf)->warmup;
    return step < warmup ? (double)(step + 1) / warmup : 1;
}

static void traits(struct pick self, struct traits *t) { t->warmup = ((const struct conf *)self.conf)->warmup; }

const struct module schedule_constant = {
    .slot = SLOT_SCHEDULE, .name = "constant", .about = "warm-up, then constant",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .schedule = factor,
};
