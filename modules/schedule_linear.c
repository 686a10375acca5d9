/* Linear warm-up, then a line down to `final` of the peak where the step after the last would be. */
#include "model/module.h"

struct conf { struct warmup warmup; double final; };
static const struct param params[] = {
    WARMUP(struct conf),
    REAL(struct conf, final, 0, 0, 1, "",
         "share of the peak that the line ends at, where the step after the last would be"),
    { 0 }
};

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    double final = ((const struct conf *)self.conf)->final;
    return schedule_shape(DECAY_LINEAR, final, schedule_progress(warmup, step, steps));
}

const struct module schedule_linear = {
    .slot = SLOT_SCHEDULE, .name = "linear", .about = "warm-up, then a line down",
    .conf_size = sizeof(struct conf), .params = params, .schedule = factor,
};
