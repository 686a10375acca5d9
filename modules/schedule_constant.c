/* Linear warm-up, then constant. */
#include "model/module.h"

struct conf { struct warmup warmup; };
static const struct param params[] = { WARMUP(struct conf), { 0 } };

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    (void)self; (void)warmup; (void)step; (void)steps;
    return 1;
}

const struct module schedule_constant = {
    .slot = SLOT_SCHEDULE, .name = "constant", .about = "warm-up, then constant",
    .conf_size = sizeof(struct conf), .params = params, .schedule = factor,
};
