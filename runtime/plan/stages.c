/* The plans of a graph: of all of it, or in a pipeline of each stage that this rank has, and of what is no stage's. */
#include "plan_private.h"

#include <stdlib.h>

static int plan_stages(struct plan *p, struct err *e)
{
    const struct place *here = &p->graph->leaves->here;
    const struct stages *of = &p->graph->leaves->stages;
    int ranks = place_group(here, OVER_PIPELINE), me = place_along(here);
    p->table = arena_new();
    if (pipeline_make(&p->schedule, p->table, (enum pipeline)of->schedule, ranks, of->micros, of->chunks, e))
        return err_prefix(e, "train.ranks: ");
    size_t before = p->report.arena;
    p->n_chunks = p->schedule.chunks;
    p->chunk = arena_alloc(p->arena, (size_t)p->n_chunks * sizeof(struct plan *));
    for (int c = 0; c < p->n_chunks; c++)
        if (plan_part(&p->chunk[c], p->graph, p->how, pipeline_stage(&p->schedule, me, c), e)) return -1;
    for (int c = 0; c < p->n_chunks; c++) {
        struct plan *stage = p->chunk[c];
        stage->first = pipeline_micros(&p->schedule, c).first;
        stage->slots = channels_slots(p, stage->part, stage->first);
        p->report.arena += stage->report.arena + (size_t)stage->slots * stage->slot_bytes;
        p->report.forward_flops += stage->report.forward_flops;
        p->report.train_flops += stage->report.train_flops;
        p->report.forward_bytes += stage->report.forward_bytes;
    }
    p->report.arena += channels_bytes(p);
    p->report.total += p->report.arena - before;
    return 0;
}

int plan_new(struct plan **out, struct graph *g, struct plan_how how, struct err *e)
{
    bool pipeline = g->leaves->stages.n > 1;
    if (plan_part(out, g, how, pipeline ? PART_REST : PART_ALL, e)) return -1;
    if (pipeline && plan_stages(*out, e)) { plan_free(*out); return -1; }
    ranks_plan(*out);
    return 0;
}
