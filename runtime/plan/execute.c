/* Executing a plan: addresses are filled in once, then a step is a walk over the calls. */
#include "plan_private.h"
#include "offsets.h"

#include <math.h>
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
        c->args.scratch = p->memory + p->scratch;
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
    p->separate = xcalloc((size_t)p->n_storages + 1, sizeof *p->separate);
    for (int i = 0; i < p->n_storages; i++)
        if (p->storage[i].where == IN_ARENA)
            p->separate[i] = p->how.backend->alloc(p->state->device, plan_decl_bytes(p, p->storage[i].decl));
}

static void bind_all(struct plan *p)
{
    bind_calls(p, &p->ahead);
    bind_calls(p, &p->forward);
    bind_calls(p, &p->backward);
    bind_calls(p, &p->weight);
    bind_calls(p, &p->update);
}

/* Carries are those of the whole. */
static void bind_stage(struct plan *p, struct plan *stage)
{
    const struct backend *b = p->how.backend;
    stage->state = p->state;
    if (stage->backward.n) state_want_grads(p->state);
    stage->arena_bytes = stage->report.arena;
    stage->memory = b->alloc(p->state->device, stage->arena_bytes);
    stage->carries = p->carries;
    stage->seed_memory = b->alloc(p->state->device, (size_t)stage->n_seeds * OFFSETS_ALIGNMENT);
    pipe_bind(stage);
    bind_all(stage);
}

void plan_bind(struct plan *p, struct state *s, struct plan *shares)
{
    INVARIANT(!p->state && s->backend == p->how.backend, "a plan is bound once, over a state of its backend");
    INVARIANT(!shares || shares->report.arena >= p->report.arena, "the plan with the larger arena is bound first");
    p->state = s;
    if (p->backward.n) state_want_grads(s);
    p->borrows = shares != NULL && !pipe_is(p);
    p->arena_bytes = pipe_is(p) ? p->scratch + PIPE_ARENA : p->report.arena;
    p->memory = p->borrows ? shares->memory : s->backend->alloc(s->device, p->arena_bytes);
    p->carries = s->backend->alloc(s->device, p->report.carries);
    p->seed_memory = p->carries + p->seeds;
    p->gathered = xcalloc(1, p->report.carries + 1);
    if (s->backend->separate && s->backend->separate()) alloc_separately(p);
    bind_all(p);
    for (int c = 0; c < p->n_chunks; c++) bind_stage(p, p->chunk[c]);
}

/* ---- running ---- */

real plan_control(const struct plan *p, const struct leaf *l)
{
    return (real)l->control.at(l->control.conf, l->control.scale, p->step.number, p->steps);
}

static char *seed_address(const struct plan *p, int i) { return p->seed_memory + (size_t)i * OFFSETS_ALIGNMENT; }

static int pieces(const struct plan *p) { return p->step.micros * place_group(&comm_here()->place, OVER_DATA); }

static void put_seeds(struct plan *p)
{
    for (int i = 0; i < p->n_seeds; i++) {
        real seed = (real)(p->seed[i].of_step ? p->seed[i].weight : p->seed[i].weight / pieces(p));
        p->how.backend->put(p->state->device, seed_address(p, i), &seed, sizeof seed);
    }
}

void plan_begin(struct plan *p, int64_t step, int64_t steps, int micros)
{
    bool same = p->step.micros == micros;
    if (!same && p->recording) {                            /* it has as many of them as it was recorded with */
        p->how.backend->forget(p->state->device, p->recording);
        p->recording = NULL;
    }
    p->step = (struct step){ step, 0, micros };
    p->is_gathered = false;
    for (int c = 0; c < p->n_chunks; c++) {
        p->chunk[c]->step = p->step;
        if (!same) put_seeds(p->chunk[c]);
    }
    if (!same) put_seeds(p);
    if (pipe_is(p)) pipe_begin(p);
    p->steps = steps;
    size_t bytes = p->state->bytes.of[SLAB_CONTROLS];
    char *controls = xcalloc(1, bytes + 1);
    for (int i = 0; i < p->graph->leaves->n; i++) {
        const struct leaf *l = p->graph->leaves->leaf[i];
        if (l->kind == LEAF_CONTROL) *(real *)(void *)(controls + l->offset) = plan_control(p, l);
    }
    p->how.backend->put(p->state->device, p->state->slab[SLAB_CONTROLS], controls, bytes);
    free(controls);
}

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

static void run(struct plan *p, struct call *c)
{
    double start = p->timing ? clock_seconds() : 0;
    if (c->run && p->timing && p->how.backend->stamp) { run_stamped(p, c); return; }
    if (c->run) c->run(&c->args);
    plan_account(p, c, p->timing ? clock_seconds() - start : 0);
}

/* Gives the number of calls it ran: one, or a chain. */
static int run_next(struct plan *p, struct calls *calls, int at)
{
    struct call *c = &calls->call[at];
    int n = 1;
    while (c->chain != NONE && at + n < calls->n && c[n].chain == c->chain) n++;
    if (n > 1) chain_run(p, c, n);
    else run(p, c);
    return n;
}

void plan_ahead(struct plan *p, int micro)
{
    p->step.micro = micro;
    for (int i = 0; i < p->ahead.n; ) i += run_next(p, &p->ahead, i);
    if (micro + 1 == p->step.micros) ranks_reduce_ahead(p);
}

void plan_run_forward(struct plan *p) { for (int i = 0; i < p->forward.n; ) i += run_next(p, &p->forward, i); }

void plan_forward(struct plan *p, int micro)
{
    if (p->step.micros == 1) plan_ahead(p, 0);
    p->step.micro = micro;
    if (p->state->stale) state_pack(p->state);
    if (pipe_is(p)) pipe_forward(p, micro);
    else plan_run_forward(p);
}

static void put_betas(struct calls *calls, int micro)
{
    /* NULL for a forward call */
    for (int i = 0; i < calls->n; i++) calls->call[i].args.beta = calls->call[i].beta[micro > 0];
}

void plan_run_weight(struct plan *p, int micro)
{
    put_betas(&p->weight, micro);
    for (int i = 0; i < p->weight.n; ) i += run_next(p, &p->weight, i);
}

void plan_run_backward(struct plan *p, int micro)
{
    for (int i = 0; i < p->n_seeds; i++) {
        p->how.backend->copy(p->state->device, plan_address(p, &p->storage[p->seed[i].storage]), seed_address(p, i),
                             sizeof(real));
    }
    put_betas(&p->backward, micro);
    bool last = micro == p->step.micros - 1;
    for (int i = 0, bucket = 0; i < p->backward.n; ) {
        i += run_next(p, &p->backward, i);
        if (last) ranks_reduce_grads(p, &bucket, i);
    }
}

void plan_backward(struct plan *p, int micro)
{
    p->step.micro = micro;
    plan_run_backward(p, micro);
}

/* What no weight of this rank's stages asks for is for others to do. */
static bool is_here(const struct call *update)
{
    return home_is_here(update->node->home, &comm_here()->place) && ranks_mine(update);
}

void plan_update(struct plan *p)
{
    const struct backend *b = p->how.backend;
    void *device = p->state->device;
    p->step.micro = 0;
    ranks_reduce_carries(p);
    for (int x = 0; x < p->n_exchanges; x++)
        b->clear(device, p->carries + p->exchange[x].from, p->exchange[x].to - p->exchange[x].from);
    for (int i = 0, x = 0; i < p->update.n; i++) {
        struct call *c = &p->update.call[i];
        if (is_here(c)) {
            run(p, c);
            for (int k = 0; k < c->args.n_in && op_changes(c->node->op) && !b->updates_pack; k++)
                if (c->args.in[k].packed && update_changes(c->node, k)) b->pack(device, &c->args.in[k]);
        }
        if (x < p->n_exchanges && i + 1 == p->exchange[x].end) ranks_share_updates(p, x++);
    }
    ranks_share_homes(p);
}

void plan_combine(struct plan *p) { ranks_reduce_carries(p); }

static bool step(struct plan *p, bool (*go_on)(void))
{
    for (int micro = 0; p->ahead.n && p->step.micros > 1 && micro < p->step.micros; micro++) {
        state_unstage(p->state, micro);
        plan_ahead(p, micro);
    }
    if (pipe_is(p)) {
        if (p->step.micros == 1) plan_ahead(p, 0);
        pipe_step(p);
        ranks_reduce_grads(p, &(int){ 0 }, 0);
    }
    for (int micro = 0; !pipe_is(p) && micro < p->step.micros; micro++) {
        if (go_on && !go_on()) return false;
        state_unstage(p->state, micro);
        plan_forward(p, micro);
        plan_backward(p, micro);
    }
    plan_update(p);
    return true;
}

/* The first step is not recorded: in it a device loads its kernels, and libraries choose theirs. */
bool plan_step(struct plan *p, bool (*go_on)(void))
{
    const struct backend *b = p->how.backend;
    void *device = p->state->device;
    if (go_on && !go_on()) return false;
    if (p->state->stale) state_pack(p->state);
    bool ran = p->ran;
    p->ran = true;
    if (p->timing || (!p->recording && (!ran || !b->record || !b->record(device)))) return step(p, go_on);
    if (p->recording) p->executed += p->recorded_flops;
    else {
        double before = p->executed;
        step(p, NULL);
        p->recording = b->recorded(device);
        p->recorded_flops = p->executed - before;
    }
    b->replay(device, p->recording);
    return true;
}

/* ---- reading ---- */

void plan_fetch(struct plan *p)
{
    const struct backend *b = p->how.backend;
    if (!b->fetch) return;
    b->fetch(p->state->device, p->carries, p->report.carries);
    p->gathered_pieces = pieces(p);                         /* the next step, which may have others, begins before */
    p->fetching = true;
    p->is_gathered = false;
}

void plan_gather(struct plan *p)
{
    if (p->fetching) p->how.backend->fetched(p->state->device, p->gathered);
    else {
        p->how.backend->get(p->state->device, p->gathered, p->carries, p->report.carries);
        p->gathered_pieces = pieces(p);
    }
    p->fetching = false;
    p->is_gathered = true;
}

static void read_storage(const struct plan *p, int storage, int64_t count, double *to)
{
    const struct storage *s = &p->storage[storage];
    enum format f = plan_format_of(p, s->decl.dtype);
    char *host = xmalloc((size_t)count * element_bytes(f) + 1);
    if (s->where == IN_CARRIES && p->is_gathered)
        memcpy(host, p->gathered + s->offset, (size_t)count * element_bytes(f));
    else p->how.backend->get(p->state->device, host, plan_address(p, s), (size_t)count * element_bytes(f));
    for (int64_t i = 0; i < count; i++) {
        real wide;
        struct tensor t = { .data = host, .shape = SHAPE(count), .format = f };
        if (f == FORMAT_I32) to[i] = ((int32_t *)(void *)host)[i];
        else if (f == FORMAT_U8) to[i] = ((uint8_t *)host)[i];
        else to[i] = (double)*row_read(&t, i, 1, &wide);
    }
    free(host);
}

void plan_read(struct plan *p, const struct node *n, double *to)
{
    int64_t count = shape_count(n->shape);
    int storage = plan_value_storage(p, n);
    INVARIANT(storage != NONE, "%s: %s was not computed", n->path, n->op->name);
    read_storage(p, storage, count, to);
    bool mean = n->op->kind == OP_COMPUTE && n->op->bridges && n->carry == CARRY_MEAN && n->region == REGION_MICRO;
    int parts = p->is_gathered ? p->gathered_pieces : pieces(p);
    for (int64_t i = 0; mean && i < count; i++) to[i] /= parts;
}

void plan_read_probe(struct plan *p, const struct probe *probe, double *to)
{
    int64_t count = probe_count(probe);
    double *value = xmalloc((size_t)count * sizeof *value), *over = xmalloc((size_t)count * sizeof *over);
    memset(to, 0, (size_t)count * sizeof *to);
    for (int t = 0; t < probe->n; t++) {
        const struct term *term = &probe->term[t];
        plan_read(p, term->carry, value);
        if (term->over) plan_read(p, term->over, over);
        bool alike = term->over && shape_count(term->over->shape) == count;
        for (int64_t i = 0; i < count; i++) {
            double quotient = term->over ? value[i] / over[alike ? i : 0] : value[i];
            to[i] += term->weight * (term->root ? sqrt(quotient) : quotient);
        }
    }
    free(value);
    free(over);
}

bool plan_read_grad(struct plan *p, const struct node *n, double *to)
{
    struct root r = node_root(n);
    int storage = p->planned[r.node->id].grad[r.output];
    if (storage == NONE) return false;
    read_storage(p, storage, shape_count(n->shape), to);
    return true;
}
