/* What all schedules have: the warm-up, and the shapes of a decay. */
#include "registry.h"

#include <math.h>
#include <string.h>

/* Its conf begins with it. */
static const struct warmup *warmup_of(struct pick schedule) { return schedule.conf; }

int64_t schedule_warmup(struct pick schedule, int64_t tokens)
{
    const struct warmup *w = warmup_of(schedule);
    return w->tokens ? (w->tokens + tokens - 1) / tokens : w->steps;
}

double schedule_factor(struct pick schedule, int64_t warmup, int64_t step, int64_t steps)
{
    if (step < warmup) return (double)(step + 1) / (double)warmup;
    return schedule.module->schedule(schedule, warmup, step, steps);
}

double schedule_decay(enum decay_shape shape, double final, double x)
{
    if (shape == DECAY_EXPONENTIAL) return pow(final, x);
    if (shape == DECAY_COSINE) return final + 0.5 * (1 - final) * (1 + cos(acos(-1) * x));
    return 1 - (1 - final) * (shape == DECAY_SQRT ? sqrt(x) : x);
}

void schedule_check_decay(enum decay_shape shape, double final, const char *path, struct problems *problems)
{
    if (shape == DECAY_EXPONENTIAL && final == 0)
        module_problem(problems, path, "final",
                       "0: an exponential never gets there; give what it is to end at, as 0.1");
}
