/* Executing a plan: what comes before a step, its passes, and its values after it. */
#include "pace.h"
#include "offsets.h"

#include <math.h>
#include <stdlib.h>

real plan_control(const struct plan *p, const struct leaf *l)
{
    return (real)l->control.at(l->control.conf, l->control.scale, p->step.number, p->steps);
}

static int pieces(const struct plan *p) { return p->step.micros * place_group(&comm_here()->place, OVER_DATA); }

static void put_seeds(struct plan *p)
{
    for (int i = 0; i < p->n_seeds; i++) {
        real seed = (real)(p->seed[i].of_step ? p->seed[i].weight : p->seed[i].weight / pieces(p));
        p->how.backend->put(p->state->device, plan_seed(p, i), &seed, sizeof seed);
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

void plan_ahead(struct plan *p, int micro)
{
    p->step.micro = micro;
    plan_run_ahead(p);
    if (micro + 1 == p->step.micros) ranks_reduce_ahead(p);
}

void plan_forward(struct plan *p, int micro)
{
    if (p->step.micros == 1) plan_ahead(p, 0);
    p->step.micro = micro;
    if (p->state->stale) state_pack(p->state);
    if (pipe_is(p)) pipe_forward(p, micro);
    else plan_run_forward(p);
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
            plan_run(p, c);
            for (int k = 0; k < c->args.n_in && op_changes(c->node->op) && !b->updates_pack; k++)
                if (c->args.in[k].packed && update_changes(c->node, k)) b->pack(device, &c->args.in[k]);
        }
        if (x < p->n_exchanges && i + 1 == p->exchange[x].end) ranks_share_updates(p, x++);
    }
    ranks_share_homes(p);
}

void plan_combine(struct plan *p) { ranks_reduce_carries(p); }

/* Each micro-batch, forward and backward. */
static bool passes(struct plan *p, bool (*go_on)(void))
{
    for (int micro = 0; micro < p->step.micros; micro++) {
        if (go_on && !go_on()) return false;
        state_unstage(p->state, micro);
        plan_forward(p, micro);
        plan_backward(p, micro);
    }
    return true;
}

static void pipeline(struct plan *p)
{
    if (p->step.micros == 1) plan_ahead(p, 0);
    pipe_step(p);
    ranks_reduce_grads(p, &(int){ 0 }, 0);                  /* each piece waits for no call of this plan */
}

static bool step(struct plan *p, bool (*go_on)(void))
{
    for (int micro = 0; p->ahead.n && p->step.micros > 1 && micro < p->step.micros; micro++) {
        state_unstage(p->state, micro);
        plan_ahead(p, micro);
    }
    if (pipe_is(p)) pipeline(p);
    else if (!passes(p, go_on)) return false;
    plan_update(p);
    pace_settle();
    return true;
}

/* The first step is not recorded: in it a device loads its kernels, and libraries choose theirs. */
bool plan_step(struct plan *p, bool (*go_on)(void))
{
    const struct backend *b = p->how.backend;
    void *device = p->state->device;
    if (go_on && !go_on()) return false;
    if (p->state->stale) state_pack(p->state);
    pace_resume();
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
    if (comm_here()->ranks > 1) p->how.backend->meet(p->state->device);    /* sums over ranks may be under way */
    read_storage(p, storage, shape_count(n->shape), to);
    return true;
}
