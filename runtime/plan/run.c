/* Calls and where they find their tensors: addresses are filled in once, then a pass is a walk over its calls. */
#include "pace.h"
#include "offsets.h"

#include <stdlib.h>

enum { PIPE_ARENA = 1 << 20 };                              /* of a pipeline, for what is moved between stages' steps */

/* ---- binding ---- */

void *plan_address(const struct plan *p, const struct storage *s)
{
    switch (s->where) {
    case IN_ARENA:   return p->separate ? p->separate[s - p->storage] : p->memory + s->offset;
    case IN_CARRIES: return p->carries + s->offset;
    case IN_SLOT:    return p->slot_memory + s->offset;
    case IN_LEAF:    break;
    }
    if (!state_has(s->leaf->of && s->leaf->kind == LEAF_GRAD ? s->leaf->of : s->leaf)) return NULL;
    return s->gradient ? p->state->slab[SLAB_GRADS] + s->leaf->offset : state_data(p->state, s->leaf);
}

static void bind(struct plan *p, const struct tensor *t, int n)
{
    for (struct tensor *x = (struct tensor *)t; x && x < t + n; x++) {
        if (!x->data) continue;
        const struct storage *s = &p->storage[(uintptr_t)x->data - 1];
        x->data = plan_address(p, s);
        if (x->data && s->where == IN_LEAF && !s->gradient && s->leaf->packed_bytes)
            x->packed = p->state->slab[SLAB_PACKED] + s->leaf->packed;
    }
}

static void bind_calls(struct plan *p, struct calls *calls)
{
    for (int i = 0; i < calls->n; i++) {
        struct call *c = &calls->call[i];
        const struct node *n = c->node;
        bind(p, c->args.in, n->n_in);
        bind(p, c->args.out, n->n_out);
        bind(p, c->args.save, n->n_save);
        bind(p, c->args.work, n->n_work);
        if (c->args.dout) bind(p, c->args.dout, n->n_out);
        if (c->args.din) bind(p, c->args.din, n->n_in);
        c->args.device = p->state->device;
        c->args.scratch = p->memory + p->scratch + (c->beside ? p->scratch_bytes : 0);
        const struct kernels *kernels = p->how.backend->kernels(op_index(n->op));
        c->run = c->follower           ? NULL
                 : c->fused            ? c->fused
                 : c->joint            ? kernels->joint
                 : c->pass == BACKWARD ? kernels->backward
                                       : kernels->forward;
    }
}

static void alloc_separately(struct plan *p)
{
    if (!p->how.backend->separate || !p->how.backend->separate()) return;
    p->separate = xcalloc((size_t)p->n_storages + 1, sizeof *p->separate);
    for (int i = 0; i < p->n_storages; i++)
        if (p->storage[i].where == IN_ARENA)
            p->separate[i] = p->how.backend->alloc(p->state->device, plan_decl_bytes(p, p->storage[i].decl));
}

static void bind_all(struct plan *p)
{
    bind_calls(p, &p->ahead);
    bind_calls(p, &p->once);
    bind_calls(p, &p->forward);
    bind_calls(p, &p->backward);
    bind_calls(p, &p->weight);
    bind_calls(p, &p->update);
}

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
                if (stage->n_slotted == *room) {
                    *room = 2 * *room + 64;
                    stage->slotted = xrealloc(stage->slotted, (size_t)*room * sizeof *stage->slotted);
                }
                stage->slotted[stage->n_slotted++] = (struct slotted){ &x->data, s->offset };
            }
    }
}

/* Before tensors have addresses in place of numbers. */
static void bind_slots(struct plan *p)
{
    int room = 0;
    find_slotted(p, &p->forward, &room);
    find_slotted(p, &p->backward, &room);
    find_slotted(p, &p->weight, &room);
    p->slot_memory = p->how.backend->alloc(p->state->device, (size_t)p->slots * p->slot_bytes);
    p->holds = xmalloc((size_t)p->slots * sizeof *p->holds);
    for (int i = 0; i < p->slots; i++) p->holds[i] = NONE;
}

/* Carries are those of the whole. */
static void bind_stage(struct plan *p, struct plan *stage)
{
    const struct backend *b = p->how.backend;
    stage->state = p->state;
    stage->arena_bytes = stage->report.arena;
    stage->memory = b->alloc(p->state->device, stage->arena_bytes);
    stage->carries = p->carries;
    stage->seed_memory = b->alloc(p->state->device, (size_t)stage->n_seeds * OFFSETS_ALIGNMENT);
    alloc_separately(stage);
    bind_slots(stage);
    bind_all(stage);
}

void plan_bind(struct plan *p, struct state *s, struct plan *shares)
{
    INVARIANT(!p->state && s->backend == p->how.backend, "a plan is bound once, over a state of its backend");
    INVARIANT(!shares || shares->report.arena >= p->report.arena, "the plan with the larger arena is bound first");
    p->state = s;
    if (p->backward.n || p->trains) state_want_grads(s);
    p->borrows = shares != NULL && !pipe_is(p);
    p->arena_bytes = pipe_is(p) ? p->scratch + PIPE_ARENA : p->report.arena;
    p->memory = p->borrows ? shares->memory : s->backend->alloc(s->device, p->arena_bytes);
    p->carries = s->backend->alloc(s->device, p->report.carries);
    p->seed_memory = p->carries + p->seeds;
    p->gathered = xcalloc(1, p->report.carries + 1);
    alloc_separately(p);
    bind_all(p);
    for (int c = 0; c < p->n_chunks; c++) bind_stage(p, p->chunk[c]);
    if (pipe_is(p)) channels_open(p);
}

/* ---- running ---- */

/* Between two stamps, read when the step is over. */
static void run_stamped(struct plan *p, struct call *c)
{
    const struct backend *b = p->how.backend;
    int n = p->n_stamped++;
    p->stamped = xrealloc(p->stamped, (size_t)p->n_stamped * sizeof *p->stamped);
    p->stamped[n] = c;
    b->stamp(p->state->device, 2 * n);
    c->run(&c->args);
    b->stamp(p->state->device, 2 * n + 1);
}

static void settle(struct plan *p, int64_t number)
{
    p->how.backend->settle(p->state->device, number);
    pace_resume();
}

/* All that went beside the calls of a pass is there. */
static void end_pass(struct plan *p) { if (p->graph->leaves->overlap) settle(p, INT64_MAX); }

/* What is timed runs alone. */
static void tell(struct plan *p, struct call *c)
{
    pace_settle();
    if (c->beside && !p->timing) { c->ticket = p->how.backend->beside(p->state->device, c->run, &c->args); return; }
    settle(p, INT64_MAX);
    c->run(&c->args);
    pace_resume();
}

void plan_run(struct plan *p, struct call *c)
{
    double start = p->timing ? clock_seconds() : 0;
    if (c->awaits) settle(p, c->awaits->ticket);
    if (c->run && p->timing && p->how.backend->stamp) { run_stamped(p, c); return; }
    if (c->run && call_travels(c)) tell(p, c);
    else if (c->run) c->run(&c->args);
    plan_account(p, c, p->timing ? clock_seconds() - start : 0);
}

/* Calls of a pass that are being run; told: it has come to one that has to wait for a message. */
struct walk { struct plan *plan; struct calls *calls; int at; bool told; };

/* How many calls come next: one, or a chain. */
static int count_next(const struct walk *w)
{
    const struct call *c = &w->calls->call[w->at];
    int n = 1;
    while (c->chain != NONE && w->at + n < w->calls->n && c[n].chain == c->chain) n++;
    return n;
}

static void run_next(struct walk *w)
{
    struct call *c = &w->calls->call[w->at];
    int n = count_next(w);
    for (int i = 0; n > 1 && i < n; i++) if (c[i].awaits) settle(w->plan, c[i].awaits->ticket);
    if (n > 1) chain_run(w->plan, c, n);
    else plan_run(w->plan, c);
    w->at += n;
}

static void run_calls(struct plan *p, struct calls *calls)
{
    for (struct walk w = { p, calls, 0, false }; w.at < calls->n; ) run_next(&w);
    end_pass(p);
}

void plan_run_ahead(struct plan *p) { run_calls(p, &p->ahead); }

static void run_once(struct plan *p) { if (p->step.micro == p->first) run_calls(p, &p->once); }

void plan_run_forward(struct plan *p)
{
    run_once(p);
    run_calls(p, &p->forward);
}

static void put_betas(struct calls *calls, bool first)
{
    /* NULL for a forward call */
    for (int i = 0; i < calls->n; i++) calls->call[i].args.beta = calls->call[i].beta[!first];
}

void plan_run_weight(struct plan *p, int micro)
{
    put_betas(&p->weight, micro == p->first);
    run_calls(p, &p->weight);
}

static void begin_backward(struct plan *p, int micro)
{
    for (int i = 0; i < p->n_seeds; i++) {
        p->how.backend->copy(p->state->device, plan_address(p, &p->storage[p->seed[i].storage]), plan_seed(p, i),
                             sizeof(real));
    }
    put_betas(&p->backward, micro == p->first);
}

void plan_run_backward(struct plan *p, int micro)
{
    bool last = micro == p->step.micros - 1;
    int bucket = 0;
    begin_backward(p, micro);
    for (struct walk w = { p, &p->backward, 0, false }; w.at < p->backward.n; ) {
        run_next(&w);
        if (last) ranks_reduce_grads(p, &bucket, w.at);
    }
    end_pass(p);
}

/* ---- two passes together ---- */

/* Up to a call that has to wait, once; true: there are more. */
static bool go_on(struct walk *w, bool others)
{
    state_unstage(w->plan->state, w->plan->step.micro);
    while (w->at < w->calls->n) {
        const struct call *c = &w->calls->call[w->at];
        bool waits = false;
        for (int i = 0, n = count_next(w); i < n; i++) waits |= c[i].awaits && c[i].awaits->beside;
        if (waits && others && !w->told) return w->told = true;
        w->told = false;
        run_next(w);
    }
    return false;
}

void plan_run_both(struct plan *forward, struct plan *backward)
{
    struct walk walk[] = { { forward, &forward->forward, 0, false }, { backward, &backward->backward, 0, false } };
    bool more[] = { true, true };
    run_once(forward);
    begin_backward(backward, backward->step.micro);
    for (int turn = 0; more[0] || more[1]; turn = !turn) if (more[turn]) more[turn] = go_on(&walk[turn], more[!turn]);
    end_pass(forward);
}
