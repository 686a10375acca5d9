/* Running a pipeline: each rank has the plans of its stages, and follows a schedule (pipeline.h). A micro-batch in
   flight has a slot in each stage, for what outlives an action; all else lies in an arena that the stage's
   micro-batches share. */
#include "pace.h"

#include <math.h>
#include <stdlib.h>

static int stages_of(const struct plan *p) { return p->graph->leaves->stages.n; }

/* ---- slots ---- */

static void point_to(struct plan *stage, int slot)
{
    char *at = stage->slot_memory + (size_t)slot * stage->slot_bytes;
    for (int i = 0; i < stage->n_slotted; i++) *stage->slotted[i].data = at + stage->slotted[i].offset;
}

/* The slot of a micro-batch, which gets one if it has none. */
static int slot_of(struct plan *stage, int micro)
{
    int none = NONE;
    for (int i = 0; i < stage->slots; i++) {
        if (stage->holds[i] == micro) return i;
        if (stage->holds[i] == NONE && none == NONE) none = i;
    }
    INVARIANT(none != NONE, "stage %d: more micro-batches in flight than its %d slots", stage->part, stage->slots);
    stage->holds[none] = micro;
    return none;
}

static void release(struct plan *stage, int micro) { stage->holds[slot_of(stage, micro)] = NONE; }

/* Of a storage while this micro-batch has the stage. */
static void *address_in(struct plan *stage, int storage, int micro)
{
    const struct storage *s = &stage->storage[storage];
    if (s->where != IN_SLOT) return plan_address(stage, s);
    return stage->slot_memory + (size_t)slot_of(stage, micro) * stage->slot_bytes + s->offset;
}

/* ---- between neighbours ---- */

static struct parcel parcel_of(const struct plan *p, struct plan *stage, int storage, int micro, struct stage_place to)
{
    return (struct parcel){ place_at(&comm_here()->place, to.rank), false, address_in(stage, storage, micro),
                            plan_decl_bytes(p, stage->storage[storage].decl) };
}

/* Values go up to the stage after `from`, gradients down to the one before it. */
static void give(struct plan *p, struct plan *from, int what, int micro)
{
    int to = from->part + (what == VALUES ? 1 : -1);
    const struct crossings *x = what == VALUES ? &from->outgoing : &from->incoming;
    if (to < 0 || to >= stages_of(p)) return;
    struct stage_place there = pipeline_place(&p->schedule, to, from->first);
    struct plan *neighbour = plan_chunk_at(p, there);
    const struct crossings *its = !neighbour ? NULL : what == VALUES ? &neighbour->incoming : &neighbour->outgoing;
    for (int i = 0; i < x->n; i++) {
        int storage = crossing_storage(&x->crossing[i], what);
        if (storage == NONE) continue;
        struct parcel out = parcel_of(p, from, storage, micro, there);
        if (!neighbour) p->how.backend->give(p->state->device, &out, channels_number(p, from, to, what));
        else
            p->how.backend->copy(p->state->device,
                                 address_in(neighbour, crossing_storage(&its->crossing[i], what), micro), out.data,
                                 out.bytes);
    }
}

static void take(struct plan *p, struct plan *to, int what, int micro)
{
    int from = to->part + (what == VALUES ? -1 : 1);
    const struct crossings *x = what == VALUES ? &to->incoming : &to->outgoing;
    if (from < 0 || from >= stages_of(p)) return;
    struct stage_place there = pipeline_place(&p->schedule, from, to->first);
    if (plan_chunk_at(p, there)) return;
    for (int i = 0; i < x->n; i++) {
        int storage = crossing_storage(&x->crossing[i], what);
        if (storage == NONE) continue;
        struct parcel in = parcel_of(p, to, storage, micro, there);
        p->how.backend->take(p->state->device, &in, channels_number(p, to, from, what));
        pace_resume();
    }
}

/* ---- running ---- */

static void begin_action(struct plan *p, struct plan *stage, int micro)
{
    point_to(stage, slot_of(stage, micro));
    stage->step = p->step;
    stage->step.micro = micro;
}

static void forward(struct plan *p, struct plan *stage, int micro)
{
    take(p, stage, VALUES, micro);
    begin_action(p, stage, micro);
    plan_run_forward(stage);
    pace_action(1);
    pace_settle();
    give(p, stage, VALUES, micro);
}

static void backward(struct plan *p, struct plan *stage, int micro)
{
    take(p, stage, GRADS, micro);
    begin_action(p, stage, micro);
    plan_run_backward(stage, micro);
    pace_action(stage->weight.n ? 1 : 2);
    pace_settle();
    give(p, stage, GRADS, micro);
}

/* A forward of a stage and a backward of another, whose messages each other's calls hide. */
static void both(struct plan *p, const struct action *a, const struct action *b)
{
    struct plan *up = p->chunk[a->chunk], *down = p->chunk[b->chunk];
    take(p, up, VALUES, a->micro);
    take(p, down, GRADS, b->micro);
    begin_action(p, up, a->micro);
    begin_action(p, down, b->micro);
    plan_run_both(up, down);
    pace_action(down->weight.n ? 2 : 3);
    pace_settle();
    give(p, up, VALUES, a->micro);
    give(p, down, GRADS, b->micro);
}

static void weight(struct plan *p, struct plan *stage, int micro)
{
    begin_action(p, stage, micro);
    plan_run_weight(stage, micro);
    pace_action(stage->weight.n ? 1 : 0);
    release(stage, micro);
}

/* Of two copies of the model the first alone does them. */
void pipe_forward(struct plan *p, int micro)
{
    for (int stage = 0; stage < stages_of(p); stage++) {
        struct plan *mine = plan_chunk_at(p, pipeline_place(&p->schedule, stage, 0));
        if (!mine) continue;
        forward(p, mine, micro);
        release(mine, micro);
        mine->executed += mine->report.forward_flops;
    }
}

/* The schedule of the step's micro-batches, of which a smaller batch has fewer. */
static void have_schedule(struct plan *p)
{
    struct err e;
    if (p->schedule.micros == p->step.micros) return;
    arena_free(p->table);
    p->table = arena_new();
    const struct stages *of = &p->graph->leaves->stages;
    if (pipeline_make(&p->schedule, p->table, (enum pipeline)of->schedule, p->schedule.ranks, p->step.micros,
                      of->chunks, &e))
        comm_fail("train.ranks: %s", e.text);
    for (int c = 0; c < p->n_chunks; c++) p->chunk[c]->first = pipeline_micros(&p->schedule, c).first;
}

/* What is carried of the last micro-batch is that of the copy of the model which does it. */
static void forget_earlier(struct plan *p, struct plan *stage, int chunk)
{
    struct micros m = pipeline_micros(&p->schedule, chunk);
    for (int i = 0; m.first + m.n < p->step.micros && i < stage->graph->n; i++) {
        const struct node *n = stage->graph->node[i];
        if (!stage->planned[i].here || !n->op->bridges || n->carry != CARRY_LAST) continue;
        const struct storage *s = &stage->storage[stage->planned[i].value[0]];
        p->how.backend->clear(p->state->device, plan_address(stage, s), plan_decl_bytes(p, s->decl));
    }
}

void pipe_step(struct plan *p)
{
    have_schedule(p);
    const struct row *row = &p->schedule.rank[place_along(&comm_here()->place)];
    for (int i = 0; i < row->n; i++) {
        const struct action *a = &row->action[i];
        struct plan *stage = p->chunk[a->chunk];
        bool second = i > 0 && a[-1].with_next;
        state_unstage(p->state, a->micro);
        if (a->with_next) both(p, a, a + 1);
        else if (a->kind == ACTION_FORWARD) forward(p, stage, a->micro);
        else if (!second && a->kind != ACTION_WEIGHT) backward(p, stage, a->micro);
        if (a->kind == ACTION_BACKWARD || a->kind == ACTION_WEIGHT) weight(p, stage, a->micro);
    }
    for (int c = 0; c < p->n_chunks; c++) {
        forget_earlier(p, p->chunk[c], c);
        p->executed += p->chunk[c]->executed;
        p->chunk[c]->executed = 0;
    }
}

/* ---- of a step ---- */

void pipe_begin(struct plan *p)
{
    const struct backend *b = p->how.backend;
    void *device = p->state->device;
    b->clear(device, p->carries + p->aheads, p->sums - p->aheads);
    b->clear(device, p->carries + p->maxes, p->lasts - p->maxes);
    b->clear(device, p->carries + p->changes, p->homes - p->changes);
    size_t n = (p->maxes - p->sums) / sizeof(real);
    real *least = xmalloc((n + 1) * sizeof *least);
    for (size_t i = 0; i < n; i++) least[i] = -(real)INFINITY;
    b->put(device, p->carries + p->sums, least, n * sizeof *least);
    free(least);
    for (int i = 0; i < p->n_unwritten; i++)
        b->clear(device, p->state->slab[SLAB_GRADS] + p->unwritten[i]->offset, leaf_bytes(p->unwritten[i]));
}
