/* Pipelines: each rank has the plans of its stages, and follows a schedule (pipeline.h). A value that later stages read
   passes through all stages between, and its gradient the same way back, so that a stage hears from its neighbours
   alone. A micro-batch in flight has a slot in each stage, for what outlives an action; all else lies in an arena that
   the stage's micro-batches share. */
#include "plan_private.h"
#include "offsets.h"

#include <math.h>
#include <stdlib.h>

bool pipe_is(const struct plan *p) { return p->part == PART_REST; }

static int stages_of(const struct plan *p) { return p->graph->leaves->stages.n; }

/* ---- what crosses ---- */

/* The last stage that reads an output, and the last whose backward calls write its gradient; -1: none. */
struct reach { int value, grad; };

static void extend(struct reach *r, const struct plan *p, const struct node *n, int input)
{
    if (n->stage > r->value) r->value = n->stage;
    if (p->planned[n->id].backward && node_wants(n, input) && n->stage > r->grad) r->grad = n->stage;
}

static struct reach *find_reach(const struct plan *p)
{
    const struct graph *g = p->graph;
    struct reach *reach = xmalloc((size_t)(g->n + 1) * NODE_OUTS * sizeof *reach);
    for (int i = 0; i < g->n * NODE_OUTS; i++) reach[i] = (struct reach){ -1, -1 };
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->op->kind != OP_COMPUTE || n->region != REGION_MICRO || !p->planned[i].live) continue;
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            struct root r = node_root(n->in[k]);
            if (r.node->op->kind == OP_COMPUTE && r.node->region == REGION_MICRO)
                extend(&reach[r.node->id * NODE_OUTS + r.output], p, n, k);
        }
    }
    return reach;
}

static void add_crossing(struct plan *p, struct crossings *to, const struct node *n, int output, bool grad)
{
    if (!to->crossing) to->crossing = arena_alloc(p->arena, (size_t)(p->graph->n + 1) * sizeof *to->crossing);
    to->crossing[to->n++] = (struct crossing){ n, output, NONE, grad ? 0 : NONE };
}

void pipe_cross(struct plan *p)
{
    if (p->part < 0) return;
    struct reach *reach = find_reach(p);
    for (int i = 0; i < p->graph->n; i++)
        for (int k = 0; k < NODE_OUTS; k++) {
            const struct node *n = p->graph->node[i];
            struct reach r = reach[i * NODE_OUTS + k];
            if (n->stage < p->part && r.value >= p->part) {
                add_crossing(p, &p->incoming, n, k, r.grad >= p->part);
                p->planned[i].comes |= 1u << k;
            }
            if (n->stage <= p->part && r.value > p->part) add_crossing(p, &p->outgoing, n, k, r.grad > p->part);
        }
    free(reach);
}

/* Whether another stage is on the same rank: what it gives may come before anybody takes it. */
static bool is_near(const struct plan *p, int stage)
{
    const int *home = p->graph->leaves->stages.home;
    return stage >= 0 && stage < stages_of(p) && home[stage] == home[p->part];
}

/* What comes lives from the begin of its pass on, what goes to its end. */
static void place(struct plan *p, struct crossing *x, bool comes)
{
    x->value = p->planned[x->node->id].value[x->output];
    struct storage *s = &p->storage[x->value];
    s->kept |= comes && is_near(p, p->part - 1);
    if (!comes && s->to < p->first_backward - 1) s->to = p->first_backward - 1;
    if (x->grad == NONE) return;
    x->grad = plan_grad_of(p, x->node, x->output, comes ? p->end - 1 : p->first_backward);
    p->storage[x->grad].kept |= !comes && is_near(p, p->part + 1);
}

void pipe_place(struct plan *p)
{
    for (int i = 0; i < p->outgoing.n; i++) place(p, &p->outgoing.crossing[i], false);
    for (int i = 0; i < p->incoming.n; i++) place(p, &p->incoming.crossing[i], true);
}

/* ---- the plans of a rank's stages ---- */

int pipe_plan(struct plan *p, struct err *e)
{
    const struct place *here = &p->graph->leaves->here;
    const struct stages *of = &p->graph->leaves->stages;
    int ranks = place_group(here, OVER_PP), me = place_index(here, OVER_PP), slots[64] = { 0 }, flying[64] = { 0 };
    p->table = arena_new();
    if (pipeline_make(&p->schedule, p->table, (enum pipeline)of->schedule, ranks, of->micros, of->chunks, e))
        return err_prefix(e, "train.ranks: ");
    p->n_chunks = p->schedule.chunks;
    p->chunk = arena_alloc(p->arena, (size_t)p->n_chunks * sizeof(struct plan *));
    const struct row *row = &p->schedule.rank[me];
    for (int i = 0; i < row->n; i++) {
        const struct action *a = &row->action[i];
        bool begins = a->kind == ACTION_FORWARD, ends = a->kind == ACTION_BACKWARD || a->kind == ACTION_WEIGHT;
        flying[a->chunk] += begins - ends;
        if (flying[a->chunk] > slots[a->chunk]) slots[a->chunk] = flying[a->chunk];
    }
    for (int c = 0; c < p->n_chunks; c++) {
        if (plan_part(&p->chunk[c], p->graph, p->how, pipeline_stage(&p->schedule, me, c), e)) return -1;
        struct plan *stage = p->chunk[c];
        stage->slots = (stage->backward.n ? slots[c] : 1) + 1;  /* what a neighbour on the same rank gives comes early */
        p->report.arena += stage->report.arena + (size_t)stage->slots * stage->slot_bytes;
        p->report.forward_flops += stage->report.forward_flops;
        p->report.train_flops += stage->report.train_flops;
        p->report.forward_bytes += stage->report.forward_bytes;
    }
    return 0;
}

void pipe_free(struct plan *p)
{
    for (int c = 0; c < p->n_chunks; c++) plan_free(p->chunk[c]);
    if (p->table) arena_free(p->table);
    free(p->holds);
    free(p->slotted);
}

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

enum { VALUES, GRADS };

static int home_of(const struct plan *p, int stage) { return p->graph->leaves->stages.home[stage]; }

static struct parcel parcel_of(const struct plan *p, struct plan *stage, int storage, int micro, int home)
{
    return (struct parcel){ place_member(&comm_here()->place, OVER_PP, home), false,
                            address_in(stage, storage, micro),
                            plan_decl_bytes(p, stage->storage[storage].decl) };
}

static struct plan *chunk_of(const struct plan *p, int stage)
{
    for (int c = 0; c < p->n_chunks; c++) if (p->chunk[c]->part == stage) return p->chunk[c];
    return NULL;
}

static int storage_in(const struct crossing *x, int what) { return what == VALUES ? x->value : x->grad; }

/* Values go up to the stage after `from`, gradients down to the one before it. */
static void give(struct plan *p, struct plan *from, int what, int micro)
{
    int to = from->part + (what == VALUES ? 1 : -1);
    const struct crossings *x = what == VALUES ? &from->outgoing : &from->incoming;
    struct plan *neighbour = chunk_of(p, to);
    const struct crossings *its = !neighbour ? NULL : what == VALUES ? &neighbour->incoming : &neighbour->outgoing;
    if (to < 0 || to >= stages_of(p)) return;
    for (int i = 0; i < x->n; i++) {
        int storage = storage_in(&x->crossing[i], what);
        if (storage == NONE) continue;
        struct parcel out = parcel_of(p, from, storage, micro, home_of(p, to));
        int boundary = what == VALUES ? from->part : to;
        if (!neighbour) comm_here()->give(&out, 2 * boundary + what);
        else
            p->how.backend->copy(p->state->device, parcel_of(p, neighbour, storage_in(&its->crossing[i], what), micro,
                                                             home_of(p, to)).data, out.data, out.bytes);
    }
}

static void take(struct plan *p, struct plan *to, int what, int micro)
{
    int from = to->part + (what == VALUES ? -1 : 1);
    const struct crossings *x = what == VALUES ? &to->incoming : &to->outgoing;
    if (from < 0 || from >= stages_of(p) || chunk_of(p, from)) return;
    for (int i = 0; i < x->n; i++) {
        int storage = storage_in(&x->crossing[i], what), boundary = what == VALUES ? from : to->part;
        if (storage == NONE) continue;
        struct parcel in = parcel_of(p, to, storage, micro, home_of(p, from));
        comm_here()->take(&in, 2 * boundary + what);
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
    give(p, stage, VALUES, micro);
}

static void backward(struct plan *p, struct plan *stage, int micro)
{
    take(p, stage, GRADS, micro);
    begin_action(p, stage, micro);
    plan_run_backward(stage, micro);
    give(p, stage, GRADS, micro);
}

static void weight(struct plan *p, struct plan *stage, int micro)
{
    begin_action(p, stage, micro);
    plan_run_weight(stage, micro);
    release(stage, micro);
}

void pipe_forward(struct plan *p, int micro)
{
    for (int stage = 0; stage < stages_of(p); stage++) {
        struct plan *mine = chunk_of(p, stage);
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
    if (pipeline_make(&p->schedule, p->table, (enum pipeline)of->schedule, p->schedule.ranks, p->step.micros, of->chunks,
                      &e))
        comm_fail("train.ranks: %s", e.text);
}

void pipe_step(struct plan *p)
{
    have_schedule(p);
    const struct row *row = &p->schedule.rank[place_index(&comm_here()->place, OVER_PP)];
    for (int i = 0; i < row->n; i++) {
        const struct action *a = &row->action[i];
        struct plan *stage = p->chunk[a->chunk];
        state_unstage(p->state, a->micro);
        if (a->kind == ACTION_FORWARD) forward(p, stage, a->micro);
        if (a->kind == ACTION_BACKWARD || a->kind == ACTION_INPUT) backward(p, stage, a->micro);
        if (a->kind == ACTION_BACKWARD || a->kind == ACTION_WEIGHT) weight(p, stage, a->micro);
    }
    for (int c = 0; c < p->n_chunks; c++) {
        p->executed += p->chunk[c]->executed;
        p->chunk[c]->executed = 0;
    }
}

/* ---- binding ---- */

static void find_slotted(struct plan *stage, struct calls *calls, int *room)
{
    for (int i = 0; i < calls->n; i++) {
        struct args *a = &calls->call[i].args;
        const struct node *n = calls->call[i].node;
        const struct { const struct tensor *t; int n; } all[] = {
            { a->in, n->n_in }, { a->out, n->n_out }, { a->save, n->n_save }, { a->work, n->n_work },
            { a->dout, n->n_out }, { a->din, n->n_in } };
        for (int k = 0; k < COUNT(all); k++)
            for (int t = 0; all[k].t && t < all[k].n; t++) {
                struct tensor *x = (struct tensor *)&all[k].t[t];
                const struct storage *s = x->data ? &stage->storage[(uintptr_t)x->data - 1] : NULL;
                if (!s || s->where != IN_SLOT) continue;
                if (stage->n_slotted == *room)
                    stage->slotted = xrealloc(stage->slotted, (size_t)(*room = 2 * *room + 64) * sizeof *stage->slotted);
                stage->slotted[stage->n_slotted++] = (struct slotted){ &x->data, s->offset };
            }
    }
}

/* Before tensors have addresses in place of numbers. */
void pipe_bind(struct plan *p)
{
    int room = 0;
    if (p->part < 0) return;
    find_slotted(p, &p->forward, &room);
    find_slotted(p, &p->backward, &room);
    find_slotted(p, &p->weight, &room);
    p->slot_memory = p->how.backend->alloc(p->state->device, (size_t)p->slots * p->slot_bytes);
    p->holds = xmalloc((size_t)p->slots * sizeof *p->holds);
    for (int i = 0; i < p->slots; i++) p->holds[i] = NONE;
}

/* ---- of a step ---- */

/* Whether a stage of this rank adds to the gradient of a weight. */
static bool is_written(const struct plan *p, const struct leaf *l)
{
    const struct graph *g = p->graph;
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->region != REGION_MICRO || n->op->kind != OP_COMPUTE || !chunk_of(p, n->stage)) continue;
        for (int k = 0; k < n->n_in; k++) if (plan_leaf_of(n->in[k]) == l && node_wants(n, k)) return true;
    }
    return false;
}

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
    for (int i = 0; i < p->graph->leaves->n && p->state->slab[SLAB_GRADS]; i++) {
        const struct leaf *l = p->graph->leaves->leaf[i];
        if (leaf_trains(l) && state_has(l) && !l->home && !is_written(p, l))
            b->clear(device, p->state->slab[SLAB_GRADS] + l->offset, leaf_bytes(l));
    }
}
