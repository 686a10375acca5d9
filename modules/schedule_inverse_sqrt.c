/* Linear warm-up over w steps, then sqrt(w / s) at step s: whatever the length of the run, which it does not know.
   Vaswani 2017; Raffel 2020 (T5). */
#include "model/module.h"
#include <math.h>

struct conf { struct warmup warmup; };
static const struct param params[] = { WARMUP(struct conf), { 0 } };

static double factor(struct pick self, int64_t warmup, int64_t step, int64_t steps)
{
    (void)self; (void)steps;
    return sqrt(fmax(1, (double)warmup) / fmax(1, (double)step));
}

const struct module schedule_inverse_sqrt = {
    .slot = SLOT_SCHEDULE, .name = "inverse_sqrt", .about = "warm-up, then as one over the root of the step",
    .conf_size = sizeof(struct conf), .params = params, .schedule = factor,
};
