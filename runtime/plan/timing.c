/* What calls took, summed by op. */
#include "plan_private.h"
#include "graph/ops.h"
#include "graph/signature.h"

#include <stdlib.h>

void plan_account(struct plan *p, const struct call *c, double seconds)
{
    /* A joint call counts as its forward third and its backward two thirds; recomputing counts as time alone. */
    double forward_share = c->joint ? 1.0 / 3 : c->pass == FORWARD, times = c->joint              ? 3
                                                                            : c->pass == FORWARD  ? 1
                                                                            : c->pass == BACKWARD ? 2
                                                                                                  : 0;
    if (c->node->region == REGION_MICRO) p->executed += times * c->flops;
    if (!p->timing) return;
    struct op_time *t = &p->time[c->node->op->index];
    t->forward_seconds += forward_share * seconds;
    t->backward_seconds += (1 - forward_share) * seconds;
    t->flops += times * c->flops;
    t->bytes += times > 0 ? plan_cost_of(c, p->step.micro).bytes : 0;
    t->calls++;
}

void plan_timing(struct plan *p, bool on)
{
    p->timing = on;
    p->n_stamped = 0;
    if (!p->time) p->time = xmalloc(OP_COUNT * sizeof *p->time);
    memset(p->time, 0, OP_COUNT * sizeof *p->time);
}

int plan_times(struct plan *p, struct op_time *out)
{
    int n = 0;
    for (int i = 0; i < p->n_stamped; i++)
        plan_account(p, p->stamped[i], p->how.backend->between(p->state->device, 2 * i, 2 * i + 1));
    p->n_stamped = 0;
    for (int i = 0; i < OP_COUNT && p->time; i++) {
        if (!p->time[i].calls) continue;
        out[n] = p->time[i];
        out[n++].name = op_all[i]->name;
    }
    return n;
}

double plan_executed_flops(const struct plan *p) { return p->executed; }
