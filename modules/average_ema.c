/* Exponential average of weights: with t the number of the step counted from `from`,
       average += (1 - d) / (1 - d^t) (w - average)
   which is the average without a trace of where it began: sum d^(t-i) w_i over sum d^(t-i). A decay of 1 gives the mean
   of all steps since `from`, 0 the weights. Polyak 1992; Izmailov 2018 (SWA); DeepSeek-V3. */
#include "model/module.h"
#include <math.h>

struct conf { double decay; int from; };
static const struct param params[] = {
    REAL(struct conf, decay, 0.999, 0, 1, "", "what a step keeps of the average; 1: the mean of all steps"),
    INT(struct conf, from, 0, 0, 1e9, "step", "steps before it begins, in which averages are the weights"),
    { 0 }
};

static double rate_at(const void *conf, double scale, int64_t step, int64_t steps)
{
    (void)scale; (void)steps;
    const struct conf *c = conf;
    double t = (double)(step - c->from + 1);
    if (t <= 1) return 1;
    return c->decay < 1 ? (1 - c->decay) / (1 - pow(c->decay, t)) : 1 / t;
}

static void follow(struct build *b, struct pick self, const struct followed *of, int n, struct update u)
{
    struct node *rate = graph_control(b->graph, "average_rate",
                                      (struct control){ rate_at, self.conf, sizeof(struct conf), 0 });
    for (int i = 0; i < n; i++) average(b->graph, of[i].average, of[i].w, u.clip, rate);
}

static void traits(struct pick self, struct traits *t)
{
    t->averages_from = ((const struct conf *)self.conf)->from;
    t->averages_by = "from";
}

const struct module average_ema = {
    .slot = SLOT_AVERAGE, .name = "ema", .about = "exponential average of the weights, which evaluation reads",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .average = follow,
};
