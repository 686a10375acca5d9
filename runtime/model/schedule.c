/* What all schedules have: the warm-up, and the shapes of a decay. What they make of a step's batch. */
#include "model.h"
#include "registry.h"

#include <math.h>
#include <string.h>

/* Its conf begins with it. */
static const struct warmup *warmup_of(struct pick schedule) { return schedule.conf; }

static int micros_at(const struct train_conf *t, int64_t warmup, int64_t step)
{
    int micros = (int)lround(schedule_factor(t->batch_schedule, warmup, step, t->steps) * t->micro);
    return micros > 1 ? micros : 1;
}

static int64_t micros_before(const struct train_conf *t, int64_t warmup, int64_t step)
{
    if (!schedule_varies(t->batch_schedule)) return step * t->micro;
    int64_t n = 0;
    for (int64_t s = 0; s < step; s++) n += micros_at(t, warmup, s);
    return n;
}

/* The first number of steps that have `tokens` tokens together. The batch's own warm-up is as long as that. */
int64_t schedule_warmup(struct pick schedule, const struct train_conf *t, int64_t seq)
{
    const struct warmup *w = warmup_of(schedule);
    int64_t piece = t->batch / t->micro * seq, least = 0, most = (w->tokens + piece - 1) / piece;
    bool own = schedule.conf == t->batch_schedule.conf;
    if (!w->tokens) return w->steps;
    int64_t batch = own ? 0 : schedule_warmup(t->batch_schedule, t, seq);
    while (least < most) {
        int64_t steps = least + (most - least) / 2;
        if (micros_before(t, own ? steps : batch, steps) * piece < w->tokens) least = steps + 1;
        else most = steps;
    }
    return least;
}

bool schedule_varies(struct pick schedule)
{
    const struct warmup *w = warmup_of(schedule);
    return schedule.module != module_find(SLOT_SCHEDULE, "constant") || ((w->tokens || w->steps) && w->from < 1);
}

struct scheduled train_scheduled(struct pick schedule, const struct train_conf *train, int64_t seq)
{
    return (struct scheduled){ schedule, schedule_warmup(schedule, train, seq) };
}

struct ramps train_ramps(const struct train_conf *t, int64_t seq)
{
    return (struct ramps){ t, seq, schedule_warmup(t->batch_schedule, t, seq),
                           schedule_warmup(t->seq_schedule, t, seq) };
}

int train_micros(const struct ramps *r, int64_t step) { return micros_at(r->train, r->batch_warmup, step); }

int train_longest(const struct ramps *r, int64_t step)
{
    const struct train_conf *t = r->train;
    int longest = (int)lround(schedule_factor(t->seq_schedule, r->seq_warmup, step, t->steps) * (double)r->seq);
    return longest > 1 ? longest : 1;
}

int64_t train_sequences(const struct ramps *r, int64_t step)
{
    return micros_before(r->train, r->batch_warmup, step) * (r->train->batch / r->train->micro);
}

double schedule_factor(struct pick schedule, int64_t warmup, int64_t step, int64_t steps)
{
    double from = warmup_of(schedule)->from;
    if (step < warmup) return from + (1 - from) * (double)(step + 1) / (double)warmup;
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
    return (int64_t)share_down((1 - c->decay) * end);
}

void schedule_check_cooldown(const struct cooldown *c, const char *path, struct problems *problems)
{
    if (c->shape == DECAY_EXPONENTIAL && c->final == 0)
        module_problem(problems, path, "final",
                       "0: an exponential never gets there; give what it is to end at, as 0.1");
}
