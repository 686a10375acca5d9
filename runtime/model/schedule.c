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

double schedule_progress(int64_t warmup, int64_t step, int64_t steps)
{
    return steps > warmup ? fmin(1, (double)(step - warmup) / (double)(steps - warmup)) : 1;
}

double schedule_shape(enum decay_shape shape, double final, double x)
{
    if (shape == DECAY_EXPONENTIAL) return pow(final, x);
    if (shape == DECAY_COSINE) return final + 0.5 * (1 - final) * (1 + cos(acos(-1) * x));
    return 1 - (1 - final) * (shape == DECAY_SQRT ? sqrt(x) : x);
}

double schedule_cooldown(const struct cooldown *c, double begin, double end, int64_t step)
{
    double from = begin + (1 - c->decay) * (end - begin);
    if ((double)step <= from) return 1;
    return schedule_shape(c->shape, c->final, fmin(1, ((double)step - from) / (end - from)));
}

int64_t schedule_peak_ends(const struct cooldown *c, double end)
{
    return (int64_t)floor((1 - c->decay) * end + 1e-6);
}

void schedule_check_cooldown(const struct cooldown *c, const char *path, struct problems *problems)
{
    if (c->shape == DECAY_EXPONENTIAL && c->final == 0)
        module_problem(problems, path, "final",
                       "0: an exponential never gets there; give what it is to end at, as 0.1");
}
