/* Linear warm-up, then half a cosine, down to `final` of the peak where the step after the last
   would be. Loshchilov 2016. */
#include "model/module.h"

struct conf { struct warmup warmup; double final; };
static const struct param params[] = {
    WARMUP(struct conf),
    REAL(struct conf, final, 0.1, 0, 1, "",
         "share of the peak that the cosine ends at, where the step after the last would be"),
    { 0 }
};

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    double final = ((const struct conf *)self.conf)->final;
    return schedule_shape(DECAY_COSINE, final, schedule_progress(warmup, step, steps));
}

const struct module schedule_cosine = {
    .slot = SLOT_SCHEDULE, .name = "cosine", .about = "warm-up, then half a cosine",
    .conf_size = sizeof(struct conf), .params = params, .schedule = factor,
};
