/* Executing a plan: addresses are filled in once, then a step is a walk over the calls. */
#include "plan_private.h"

#include <stdlib.h>

/* ---- binding ---- */

static void *slot_address(const struct plan *p, const struct slot *s)
{
    switch (s->where) {
    case IN_ARENA:   return p->memory + s->offset;
    case IN_CARRIES: return p->carries + s->offset;
    case IN_LEAF:    break;
    }
    return s->gradient ? (char *)p->state->grads + s->leaf->offset : state_data(p->state, s->leaf);
}

static void bind(struct plan *p, const struct tensor *t, int n)
{
    for (struct tensor *x = (struct tensor *)t; x && x < t + n; x++)
        if (x->data) x->data = slot_address(p, &p->slot[(uintptr_t)x->data - 1]);
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
        c->kernels = p->state->backend->kernels(n->op->index);
    }
}

void plan_bind(struct plan *p, struct state *s)
{
    INVARIANT(!p->state, "a plan is bound once");
    p->state = s;
    if (p->backward.n) state_want_grads(s);
    p->memory = s->backend->alloc(p->report.arena);
    p->carries = s->backend->alloc(p->report.carries);
    bind_calls(p, &p->forward);
    bind_calls(p, &p->backward);
    bind_calls(p, &p->update);
}

/* ---- running ---- */

void plan_begin(struct plan *p, int64_t step, int64_t steps, int micros)
{
    p->moment = (struct moment){ step, 0, micros };
    p->steps = steps;
    for (int i = 0; i < p->graph->leaves->n; i++) {
        const struct leaf *l = p->graph->leaves->leaf[i];
        if (l->kind != LEAF_CONTROL) continue;
        real value = (real)l->control.at(l->control.conf, l->control.scale, step, steps);
        state_put(p->state, l, &value);
    }
}

static void run(struct plan *p, struct call *c, bool back)
{
    struct op_time *t = &p->time[c->node->op->index];
    double start = p->timing ? clock_seconds() : 0;
    (back ? c->kernels->backward : c->kernels->forward)(&c->args);
    if (c->node->region == REGION_MICRO) p->executed += back ? 2 * c->flops : c->flops;
    if (!p->timing) return;
    *(back ? &t->backward_seconds : &t->forward_seconds) += clock_seconds() - start;
    t->flops += back ? 2 * c->flops : c->flops;
    t->bytes += back ? 2 * c->bytes : c->bytes;
    t->calls++;
}

void plan_forward(struct plan *p, int micro)
{
    p->moment.micro = micro;
    for (int i = 0; i < p->forward.n; i++) run(p, &p->forward.call[i], false);
}

void plan_backward(struct plan *p, int micro)
{
    p->moment.micro = micro;
    for (int i = 0; i < p->n_seeds; i++) {
        real seed = (real)(p->seed[i].weight / p->moment.micros);
        p->state->backend->put(slot_address(p, &p->slot[p->seed[i].slot]), &seed, sizeof seed);
    }
    for (int i = 0; i < p->backward.n; i++) {
        struct call *c = &p->backward.call[i];
        c->args.beta = c->beta[micro > 0];
        run(p, c, true);
    }
}

void plan_update(struct plan *p)
{
    p->moment.micro = 0;
    for (int i = 0; i < p->update.n; i++) run(p, &p->update.call[i], false);
}

/* ---- reading ---- */

static void read_slot(const struct plan *p, int slot, int64_t count, double *to)
{
    const struct slot *s = &p->slot[slot];
    enum format f = plan_format_of(p, s->decl.dtype);
    char *host = xmalloc((size_t)count * element_bytes(f) + 1);
    p->state->backend->get(host, slot_address(p, s), (size_t)count * element_bytes(f));
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
    int slot = plan_value_slot(p, n);
    INVARIANT(slot != NONE, "%s: %s was not computed", n->path, n->op->name);
    read_slot(p, slot, count, to);
    bool mean = n->op->kind == OP_COMPUTE && n->op->index == OP_carry && n->carry == CARRY_MEAN && n->region == REGION_MICRO;
    for (int64_t i = 0; mean && i < count; i++) to[i] /= p->moment.micros;
}

bool plan_read_grad(struct plan *p, const struct node *n, double *to)
{
    struct root r = plan_root_of(n);
    int slot = p->place[r.node->id].grad[r.output];
    if (slot == NONE) return false;
    read_slot(p, slot, shape_count(n->shape), to);
    return true;
}

void plan_timing(struct plan *p, bool on)
{
    p->timing = on;
    memset(p->time, 0, sizeof p->time);
}

#define NAME(name, signature) #name,
int plan_times(struct plan *p, struct op_time out[OP_COUNT])
{
    static const char *const names[] = { OPS(NAME) };
    int n = 0;
    for (int i = 0; i < OP_COUNT; i++) {
        if (!p->time[i].calls) continue;
        out[n] = p->time[i];
        out[n++].name = names[i];
    }
    return n;
}

double plan_executed_flops(const struct plan *p) { return p->executed; }
