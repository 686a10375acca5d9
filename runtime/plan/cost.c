/* What a step costs by its plan, call by call: FLOPs, and the bytes that a call cannot avoid to read
   and write. Nothing runs. */
#include "plan_private.h"

static double tensor_bytes(const struct call *c, const struct tensor *t)
{
    if (!t->data) return 0;
    return (double)shape_count(t->shape) * (double)element_bytes(t->format) * filled_share(c->filled, t->shape);
}

/* Of input i: the packed form of a weight, and of a table the rows that are looked up. */
static double read_bytes(const struct call *c, int i)
{
    const struct op *op = c->node->op;
    const struct leaf *l = plan_leaf_of(c->node->in[i]);
    if (has_bit(op->packs, i) && l && l->packed_bytes) return (double)l->packed_bytes;
    if (has_bit(op->looks_up, i))
        return (double)shape_count(c->args.out[0].shape) * (double)element_bytes(c->args.in[0].format);
    return tensor_bytes(c, &c->args.in[i]);
}

/* Inputs that an update changes are written as well; the packed forms of weights with them. */
static double changed_bytes(const struct call *c)
{
    double bytes = 0;
    for (int i = 0; i < c->args.n_in && op_changes(c->node->op); i++) {
        const struct leaf *l = plan_leaf_of(c->node->in[i]);
        if (!l || !update_changes(c->node, i)) continue;
        if (l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER) bytes += tensor_bytes(c, &c->args.in[i]);
        if (l->kind == LEAF_WEIGHT) bytes += (double)l->packed_bytes;
    }
    return bytes;
}

static double forward_bytes(const struct call *c)
{
    double bytes = changed_bytes(c);
    for (int i = 0; i < c->args.n_in; i++) bytes += read_bytes(c, i);
    for (int k = 0; k < c->node->n_out; k++) bytes += tensor_bytes(c, &c->args.out[k]);
    for (int k = 0; k < c->node->n_save && c->pass == FORWARD; k++) bytes += tensor_bytes(c, &c->args.save[k]);
    return bytes;
}

/* Gradients, of which those that are added to are read too. A joint call has read its inputs already. */
static double backward_bytes(const struct call *c, int micro)
{
    const struct op *op = c->node->op;
    double bytes = 0;
    for (int i = 0; i < c->args.n_in; i++) {
        if (!c->joint && has_bit(op->reads_in, i)) bytes += read_bytes(c, i);
        bytes += (1 + (double)c->beta[micro > 0][i]) * tensor_bytes(c, &c->args.din[i]);
    }
    for (int k = 0; k < c->node->n_out; k++) {
        if (!c->joint && has_bit(op->reads_out, k)) bytes += tensor_bytes(c, &c->args.out[k]);
        bytes += tensor_bytes(c, &c->args.dout[k]);
    }
    for (int k = 0; k < c->node->n_save && !c->joint; k++) bytes += tensor_bytes(c, &c->args.save[k]);
    return bytes;
}

struct call_cost plan_cost_of(const struct call *c, int micro)
{
    struct call_cost cost = { .node = c->node, .format = c->args.n_in ? c->args.in[0].format : FORMAT_REAL };
    if (c->pass != BACKWARD || c->joint) { cost.flops += c->flops; cost.bytes += forward_bytes(c); }
    if (c->pass == BACKWARD) { cost.flops += c->back; cost.bytes += backward_bytes(c, micro); }
    return cost;
}

static void tell(const struct calls *calls, int micro, void (*take)(void *to, const struct call_cost *c), void *to)
{
    for (int i = 0; i < calls->n; i++) {
        struct call_cost cost = plan_cost_of(&calls->call[i], micro);
        take(to, &cost);
    }
}

void plan_costs(const struct plan *p, int micros, void (*take)(void *to, const struct call_cost *c), void *to)
{
    for (int micro = 0; micro < micros; micro++) {
        tell(&p->ahead, micro, take, to);
        if (micro == 0) tell(&p->once, micro, take, to);
        tell(&p->forward, micro, take, to);
        tell(&p->backward, micro, take, to);
    }
    tell(&p->update, 0, take, to);
}
