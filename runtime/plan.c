/* Planning: which nodes run, in which order, which gradients are wanted and who writes them first, where every
   tensor lies. Running is then a walk over three arrays of calls.

   Time: node i runs forward at i, backward at 2n-1-i, in the update region at 2n+i. */
#include "plan_private.h"
#include "place.h"

#include <stdlib.h>

/* ---- where a node's value lies ---- */

struct root plan_root_of(const struct node *n)
{
    int output = 0;
    for (;;) {
        if (n->op == &op_result) { output = n->output; n = n->in[0]; return (struct root){ n, output }; }
        if (n->op->kind == OP_ALIAS) n = n->in[0];
        else if (n->op->kind == OP_COMPUTE && n->op->in_place) n = n->in[0];
        else return (struct root){ n, output };
    }
}

static int slot_new(struct plan *p, struct decl decl, int from, int to)
{
    if (p->n_slots == p->room) {
        p->room = p->room ? 2 * p->room : 1024;
        p->slot = xrealloc(p->slot, (size_t)p->room * sizeof *p->slot);
    }
    p->slot[p->n_slots] = (struct slot){ .decl = decl, .where = IN_ARENA, .from = from, .to = to };
    return p->n_slots++;
}

static void slot_keep(struct plan *p, int slot, int time)
{
    if (slot == NONE) return;
    if (time > p->slot[slot].to) p->slot[slot].to = time;
    if (time < p->slot[slot].from) p->slot[slot].from = time;
}

enum format plan_format_of(const struct plan *p, enum dtype d)
{
    switch (d) {
    case DTYPE_ACT:  return p->precision == PRECISION_BF16 ? FORMAT_BF16 : FORMAT_REAL;
    case DTYPE_REAL: return FORMAT_REAL;
    case DTYPE_I32:  return FORMAT_I32;
    case DTYPE_U8:   return FORMAT_U8;
    }
    INVARIANT(false, "dtype %d", (int)d);
}

static size_t decl_bytes(const struct plan *p, struct decl d) { return (size_t)shape_count(d.shape) * element_bytes(plan_format_of(p, d.dtype)); }

static int time_forward(const struct plan *p, const struct node *n) { return n->region == REGION_UPDATE ? 2 * p->graph->n + n->id : n->id; }
static int time_backward(const struct plan *p, const struct node *n) { return 2 * p->graph->n - 1 - n->id; }

/* ---- what runs ---- */

/* A node is live when a loss, a carry, an update or the caller's outputs need it. */
static void mark_live(struct plan *p, const struct node *n)
{
    if (p->place[n->id].live) return;
    p->place[n->id].live = true;
    for (int i = 0; i < n->n_in; i++) mark_live(p, n->in[i]);
}

static void find_live(struct plan *p)
{
    struct graph *g = p->graph;
    for (int i = 0; i < g->n_losses; i++) mark_live(p, g->loss[i].value);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        bool effect = n->op->kind == OP_COMPUTE && (n->op->changes_inputs || n->op->in_place || n->op->index == OP_carry);
        if (effect || n->output_of_graph || g->keep) mark_live(p, n);
    }
}

/* A node runs backward when a gradient arrives and one of its inputs wants one. */
static void find_backward(struct plan *p)
{
    struct graph *g = p->graph;
    bool *arrives = xcalloc((size_t)g->n + 1, sizeof *arrives);
    for (int i = 0; i < g->n_losses; i++) if (g->loss[i].value->grad) arrives[plan_root_of(g->loss[i].value).node->id] = true;
    for (int i = g->n - 1; i >= 0; i--) {
        const struct node *n = g->node[i];
        if (!arrives[i] || !n->grad || n->op->kind != OP_COMPUTE) continue;
        p->place[i].backward = true;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]->grad && !(n->op->no_grad >> k & 1)) arrives[plan_root_of(n->in[k]).node->id] = true;
    }
    free(arrives);
}

/* ---- slots and lives ---- */

static void declare(struct plan *p, const struct node *n)
{
    struct place *at = &p->place[n->id];
    int now = time_forward(p, n), last = p->graph->keep ? 4 * p->graph->n : now;
    for (int k = 0; k < NODE_OUTS; k++) at->value[k] = at->grad[k] = NONE;
    for (int k = 0; k < NODE_SAVES; k++) at->save[k] = NONE;
    for (int k = 0; k < NODE_WORKS; k++) at->work[k] = at->work_back[k] = NONE;
    if (n->op->kind == OP_LEAF) {
        at->value[0] = slot_new(p, n->out[0], 0, 0);
        p->slot[at->value[0]].where = IN_LEAF;
        p->slot[at->value[0]].leaf = n->leaf;
        return;
    }
    if (n->op->kind != OP_COMPUTE || !at->live) return;
    for (int k = n->op->in_place ? 1 : 0; k < n->n_out; k++) {
        at->value[k] = slot_new(p, n->out[k], now, n->output_of_graph ? 4 * p->graph->n : last);
        if (n->op->index == OP_carry) p->slot[at->value[k]].where = IN_CARRIES;
    }
    for (int k = 0; k < n->n_save; k++) at->save[k] = slot_new(p, n->save[k], now, at->backward ? time_backward(p, n) : now);
    for (int k = 0; k < n->n_work; k++) at->work[k] = slot_new(p, n->work[k], now, now);
    for (int k = 0; at->backward && k < n->n_work; k++) at->work_back[k] = slot_new(p, n->work[k], time_backward(p, n), time_backward(p, n));
}

int plan_value_slot(const struct plan *p, const struct node *n)
{
    struct root r = plan_root_of(n);
    return p->place[r.node->id].value[r.output];
}

static int grad_slot(struct plan *p, const struct node *n, int time)
{
    struct root r = plan_root_of(n);
    int *slot = &p->place[r.node->id].grad[r.output];
    if (*slot == NONE) {
        struct decl d = r.node->out[r.output];
        *slot = slot_new(p, d, time, time);
        if (r.node->op == &op_leaf) {
            p->slot[*slot].where = IN_LEAF;
            p->slot[*slot].leaf = r.node->leaf;
            p->slot[*slot].gradient = true;
        } else if (r.node->op->kind == OP_COMPUTE) {
            slot_keep(p, *slot, time_backward(p, r.node));
            if (p->graph->keep) slot_keep(p, *slot, 4 * p->graph->n);
        }
    }
    slot_keep(p, *slot, time);
    return *slot;
}

static void live_through(struct plan *p, const struct node *n)
{
    const struct place *at = &p->place[n->id];
    if (n->op->kind != OP_COMPUTE || !at->live) return;
    for (int i = 0; i < n->n_in; i++) {
        slot_keep(p, plan_value_slot(p, n->in[i]), time_forward(p, n));
        if (at->backward && n->op->reads_in >> i & 1) slot_keep(p, plan_value_slot(p, n->in[i]), time_backward(p, n));
        bool bridge = n->region == REGION_UPDATE && n->in[i]->region == REGION_MICRO && plan_root_of(n->in[i]).node->op->kind == OP_COMPUTE;
        INVARIANT(!bridge || plan_root_of(n->in[i]).node->op->index == OP_carry, "%s: %s reads %s of the micro region without a carry", n->path, n->op->name, n->in[i]->op->name);
    }
    for (int k = 0; at->backward && k < n->n_out; k++)
        if (n->op->reads_out >> k & 1) slot_keep(p, plan_value_slot(p, n), time_backward(p, n)), slot_keep(p, at->value[k], time_backward(p, n));
}

/* ---- calls ---- */

static struct tensor *tensors(struct plan *p, int n) { return arena_alloc(p->arena, (size_t)(n + 1) * sizeof(struct tensor)); }

/* data holds the slot's number + 1 until plan_bind puts the address in its place. */
static struct tensor tensor_in(const struct plan *p, int slot, struct shape shape)
{
    if (slot == NONE) return (struct tensor){ .shape = shape };
    enum dtype d = p->slot[slot].decl.dtype;
    return (struct tensor){ .data = (void *)(uintptr_t)(slot + 1), .shape = shape, .format = plan_format_of(p, d) };
}

static struct call call_new(struct plan *p, const struct node *n, bool back)
{
    const struct place *at = &p->place[n->id];
    struct tensor *in = tensors(p, n->n_in), *out = tensors(p, n->n_out), *save = tensors(p, n->n_save), *work = tensors(p, n->n_work);
    for (int i = 0; i < n->n_in; i++) in[i] = tensor_in(p, plan_value_slot(p, n->in[i]), n->in[i]->shape);
    for (int k = 0; k < n->n_out; k++) out[k] = tensor_in(p, k == 0 ? plan_value_slot(p, n) : at->value[k], n->out[k].shape);
    for (int k = 0; k < n->n_save; k++) save[k] = tensor_in(p, at->save[k], n->save[k].shape);
    for (int k = 0; k < n->n_work; k++) work[k] = tensor_in(p, back ? at->work_back[k] : at->work[k], n->work[k].shape);
    struct cost cost = { 0 };
    if (n->op->cost) n->op->cost(n, &cost);
    if (cost.bytes == 0) {
        for (int i = 0; i < n->n_in; i++) cost.bytes += (double)shape_count(in[i].shape) * (double)element_bytes(in[i].format);
        for (int k = 0; k < n->n_out; k++) cost.bytes += (double)shape_count(out[k].shape) * (double)element_bytes(out[k].format);
    }
    return (struct call){ .node = n, .flops = cost.flops, .bytes = cost.bytes,
        .args = { .attr = n->attr, .n_in = n->n_in, .in = in, .out = out, .save = save, .work = work, .moment = &p->moment } };
}

/* A backward call: the gradients that arrive, those that are wanted, and whether each is the first to be written.
   The first micro-batch of a step writes a weight's gradient, the later ones add to it. */
static struct call call_backward(struct plan *p, const struct node *n, bool *written)
{
    struct call c = call_new(p, n, true);
    struct tensor *dout = tensors(p, n->n_out), *din = tensors(p, n->n_in);
    int now = time_backward(p, n);
    for (int b = 0; b < 2; b++) c.beta[b] = arena_alloc(p->arena, (size_t)(n->n_in + 1) * sizeof(real));
    for (int k = 0; k < n->n_out; k++) {
        int slot = p->place[n->id].grad[k];
        dout[k] = tensor_in(p, slot, n->out[k].shape);
    }
    for (int i = 0; i < n->n_in; i++) {
        din[i] = (struct tensor){ .shape = n->in[i]->shape };
        if (!n->in[i]->grad || n->op->no_grad >> i & 1) continue;
        int slot = grad_slot(p, n->in[i], now);
        for (int j = 0; j < i; j++)
            INVARIANT(din[j].data != (void *)(uintptr_t)(slot + 1), "%s: %s takes the same tensor twice", n->path, n->op->name);
        din[i] = tensor_in(p, slot, n->in[i]->shape);
        bool weight = p->slot[slot].where == IN_LEAF;
        c.beta[0][i] = written[slot] ? 1 : 0;
        c.beta[1][i] = written[slot] || weight ? 1 : 0;
        written[slot] = true;
    }
    c.args.dout = dout;
    c.args.din = din;
    return c;
}

static void add_call(struct calls *to, struct call c, struct arena *a, int most)
{
    if (!to->call) to->call = arena_alloc(a, (size_t)(most + 1) * sizeof c);
    to->call[to->n++] = c;
}

static void plan_seeds(struct plan *p, bool *written)
{
    struct graph *g = p->graph;
    p->seed = arena_alloc(p->arena, (size_t)(g->n_losses + 1) * sizeof *p->seed);
    for (int i = 0; i < g->n_losses; i++) {
        if (!g->loss[i].value->grad) continue;
        int slot = grad_slot(p, g->loss[i].value, g->n), k = 0;
        while (k < p->n_seeds && p->seed[k].slot != slot) k++;
        if (k == p->n_seeds) p->seed[p->n_seeds++] = (struct seed){ slot, 0 };
        p->seed[k].weight += g->loss[i].weight;
        written[slot] = true;
    }
}

static void plan_calls(struct plan *p)
{
    struct graph *g = p->graph;
    bool *written = xcalloc((size_t)(p->n_slots + 4 * g->n + 16), sizeof *written);
    plan_seeds(p, written);
    for (int i = g->n - 1; i >= 0; i--)
        if (p->place[i].backward) add_call(&p->backward, call_backward(p, g->node[i], written), p->arena, g->n);
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        if (n->op->kind != OP_COMPUTE || !p->place[i].live) continue;
        struct call c = call_new(p, n, false);
        if (n->region == REGION_MICRO) {
            p->report.forward_flops += c.flops;
            p->report.forward_bytes += c.bytes;
            p->report.train_flops += p->place[i].backward ? 3 * c.flops : c.flops;
        }
        add_call(n->region == REGION_MICRO ? &p->forward : &p->update, c, p->arena, g->n);
    }
    free(written);
}

static void plan_places(struct plan *p)
{
    struct span *span = xcalloc((size_t)p->n_slots + 1, sizeof *span);
    int n = 0;
    for (int i = 0; i < p->n_slots; i++) {
        struct slot *s = &p->slot[i];
        size_t bytes = decl_bytes(p, s->decl);
        if (s->where == IN_CARRIES) { s->offset = p->report.carries; p->report.carries += place_round(bytes); }
        if (s->where != IN_ARENA) continue;
        s->span = n;
        span[n++] = (struct span){ .bytes = bytes, .from = s->from, .to = s->to };
    }
    p->report.arena = place_spans(span, n);
    for (int i = 0; i < p->n_slots; i++) if (p->slot[i].where == IN_ARENA) p->slot[i].offset = span[p->slot[i].span].offset;
    free(span);
    struct state_bytes b = state_layout(p->graph->leaves);
    p->report.weights = b.weights;
    p->report.grads = p->backward.n ? b.weights : b.grads;
    p->report.buffers = b.buffers;
    p->report.inputs = b.inputs;
    p->report.total = p->report.weights + p->report.grads + p->report.buffers + p->report.inputs + p->report.carries + p->report.arena;
}

int plan_new(struct plan **out, struct graph *g, enum precision precision, struct err *e)
{
    if (g->failed) return err_set(e, "%s", g->err.text);
    struct plan *p = xcalloc(1, sizeof *p);
    p->arena = arena_new();
    p->graph = g;
    p->precision = sizeof(real) == sizeof(float) ? precision : PRECISION_FP32;
    p->place = arena_alloc(p->arena, (size_t)(g->n + 1) * sizeof *p->place);
    find_live(p);
    find_backward(p);
    for (int i = 0; i < g->n; i++) declare(p, g->node[i]);
    for (int i = 0; i < g->n; i++) live_through(p, g->node[i]);
    plan_calls(p);
    plan_places(p);
    *out = p;
    return 0;
}

void plan_free(struct plan *p)
{
    if (!p) return;
    if (p->state) {
        p->state->backend->release(p->memory, p->report.arena);
        p->state->backend->release(p->carries, p->report.carries);
    }
    free(p->slot);
    arena_free(p->arena);
    free(p);
}

const struct plan_report *plan_report(const struct plan *p) { return &p->report; }
