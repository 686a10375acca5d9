/* What calls took, summed by op. */
#include "pace.h"
#include "graph/signature.h"

#include <stdlib.h>

static int count_ops(void)
{
    int n = 0;
    while (op_all[n]) n++;
    return n;
}

void plan_account(struct plan *p, const struct call *c, double seconds)
{
    /* A joint call counts as its forward third and its backward two thirds; recomputing counts as time alone. */
    double forward_share = c->joint ? 1.0 / 3 : c->pass == FORWARD,
           flops = (c->joint || c->pass == FORWARD ? c->flops : 0) + (c->pass == BACKWARD ? c->back : 0);
    if (c->node->region == REGION_MICRO) p->executed += flops;
    pace_call(c, p->step.micro);
    if (!p->timing) return;
    struct op_time *t = &p->time[op_index(c->node->op)];
    t->forward_seconds += forward_share * seconds;
    t->backward_seconds += (1 - forward_share) * seconds;
    t->flops += flops;
    t->bytes += c->pass != RECOMPUTE ? plan_cost_of(c, p->step.micro).bytes : 0;
    t->calls++;
}

void plan_timing(struct plan *p, bool on)
{
    p->timing = on;
    p->n_stamped = 0;
    size_t bytes = (size_t)count_ops() * sizeof *p->time;
    if (!p->time) p->time = xmalloc(bytes);
    memset(p->time, 0, bytes);
}

struct op_time *plan_times(struct plan *p, int *count)
{
    struct op_time *out = xcalloc((size_t)count_ops(), sizeof *out);
    int n = 0;
    for (int i = 0; i < p->n_stamped; i++)
        plan_account(p, p->stamped[i], p->how.backend->between(p->state->device, 2 * i, 2 * i + 1));
    p->n_stamped = 0;
    for (int i = 0; op_all[i] && p->time; i++) {
        if (!p->time[i].calls) continue;
        out[n] = p->time[i];
        out[n++].name = op_all[i]->name;
    }
    *count = n;
    return out;
}

double plan_executed_flops(const struct plan *p) { return p->executed; }
