/* Planning: which gradients are wanted and who writes them first, the liveness of every tensor and its offset.
   Running is then a walk over three arrays of calls. */
#include "plan_private.h"
#include "offsets.h"

#include <stdlib.h>

/* ---- storage and liveness ---- */

static int storage_new(struct plan *p, struct decl decl, int from, int to)
{
    if (p->n_storages == p->room) {
        p->room = p->room ? 2 * p->room : 1024;
        p->storage = xrealloc(p->storage, (size_t)p->room * sizeof *p->storage);
    }
    p->storage[p->n_storages] = (struct storage){ .decl = decl, .where = IN_ARENA, .from = from, .to = to };
    return p->n_storages++;
}

/* How ranks combine what a node leaves among the carries. */
static enum bridge bridge_of(const struct node *n)
{
    if (n->region == REGION_UPDATE) return update_is_held(n) ? BRIDGE_CHANGE : n->home ? BRIDGE_HOME : BRIDGE_OWN;
    if (n->region == REGION_AHEAD) return BRIDGE_AHEAD;
    return n->carry == CARRY_SUM || n->carry == CARRY_MEAN ? BRIDGE_SUM
           : n->carry == CARRY_MAX                         ? BRIDGE_MAX
                                                           : BRIDGE_LAST;
}

static void declare(struct plan *p, const struct node *n)
{
    struct planned *at = &p->planned[n->id];
    int now = at->time[FORWARD], last = p->graph->keep ? p->end : now;
    for (int k = 0; k < NODE_OUTS; k++) at->value[k] = at->grad[k] = at->again[k] = NONE;
    for (int k = 0; k < NODE_SAVES; k++) at->save[k] = at->resaved[k] = NONE;
    for (int k = 0; k < NODE_WORKS; k++) at->work[FORWARD][k] = at->work[BACKWARD][k] = at->work[RECOMPUTE][k] = NONE;
    if (n->op->kind == OP_LEAF) {
        at->value[0] = storage_new(p, n->out[0], 0, 0);
        p->storage[at->value[0]].where = IN_LEAF;
        p->storage[at->value[0]].leaf = n->leaf;
        return;
    }
    if (n->op->kind != OP_COMPUTE || !at->live) return;
    for (int k = n->op->in_place ? 1 : 0; k < n->n_out; k++) {
        bool carried = has_bit(n->op->bridges, k) || (n->region == REGION_UPDATE && op_changes(n->op));
        if (!at->here && !carried && !has_bit(at->comes, k)) continue;
        at->value[k] = storage_new(p, n->out[k], at->here ? now : 0, n->output_of_graph ? p->end : at->here ? last : 0);
        if (carried) p->storage[at->value[k]].where = IN_CARRIES;
        p->storage[at->value[k]].bridge = bridge_of(n);
        p->storage[at->value[k]].phase = at->phase;
    }
    if (!at->here) return;
    if (at->once) {
        plan_extend(p, at->value[0], p->end);
        p->storage[at->value[0]].once = true;
    }
    int once_more = at->time[RECOMPUTE];
    for (int k = 0; k < n->n_out && once_more != NONE; k++)
        at->again[k] = storage_new(p, n->out[k], once_more, once_more);
    for (int k = 0; k < n->n_save; k++) {
        int *last_saved = once_more != NONE ? &at->resaved[k] : &at->save[k];
        at->save[k] = storage_new(p, n->save[k], now, now);
        if (once_more != NONE) at->resaved[k] = storage_new(p, n->save[k], once_more, once_more);
        if (at->backward) plan_extend(p, *last_saved, at->time[BACKWARD]);
    }
    for (enum pass pass = 0; pass < PASSES; pass++)
        for (int k = 0; k < n->n_work && at->time[pass] != NONE && !(at->joint && pass == FORWARD); k++)
            at->work[pass][k] = storage_new(p, n->work[k], at->time[pass], at->time[pass]);
}

int plan_value_storage(const struct plan *p, const struct node *n)
{
    struct root r = node_root(n);
    return p->planned[r.node->id].value[r.output];
}

/* Whether a call of this pass reads and writes what was made again. */
static bool is_again(const struct planned *at, enum pass pass)
{
    return pass != FORWARD && at->time[RECOMPUTE] != NONE;
}

/* Where a call finds a value, an output of a node, and what it saved. */
static int value_storage(const struct plan *p, const struct node *n, enum pass pass)
{
    struct root r = node_root(n);
    const struct planned *at = &p->planned[r.node->id];
    return is_again(at, pass) ? at->again[r.output] : at->value[r.output];
}

static int output_storage(const struct plan *p, const struct node *n, int output, enum pass pass)
{
    const struct planned *at = &p->planned[n->id];
    if (output == 0) return value_storage(p, n, pass);      /* it may be another node's memory */
    return is_again(at, pass) ? at->again[output] : at->value[output];
}

static int save_storage(const struct planned *at, int save, enum pass pass)
{
    return is_again(at, pass) ? at->resaved[save] : at->save[save];
}

int plan_grad_of(struct plan *p, const struct node *n, int output, int time)
{
    int *storage = &p->planned[n->id].grad[output];
    if (*storage == NONE) {
        struct decl d = n->out[output];
        *storage = storage_new(p, d, time, time);
        if (n->op == &op_leaf) {
            p->storage[*storage].where = IN_LEAF;
            p->storage[*storage].leaf = n->leaf;
            p->storage[*storage].gradient = true;
        } else if (n->op->kind == OP_COMPUTE) {
            int reads = p->planned[n->id].time[BACKWARD];
            plan_extend(p, *storage, reads == NONE ? p->end : reads);
            if (p->graph->keep) plan_extend(p, *storage, p->end);
        }
    }
    plan_extend(p, *storage, time);
    return *storage;
}

static int grad_storage(struct plan *p, const struct node *n, int time)
{
    struct root r = node_root(n);
    return plan_grad_of(p, r.node, r.output, time);
}

static void live_through(struct plan *p, const struct node *n)
{
    const struct planned *at = &p->planned[n->id];
    if (n->op->kind != OP_COMPUTE || !at->here) return;
    for (int i = 0; i < n->n_in; i++) {
        if (!n->in[i]) continue;
        plan_extend(p, value_storage(p, n->in[i], FORWARD), at->time[FORWARD]);
        if (at->time[RECOMPUTE] != NONE)
            plan_extend(p, value_storage(p, n->in[i], RECOMPUTE), at->time[RECOMPUTE]);
        if (at->backward && has_bit(n->op->reads_in, i))
            plan_extend(p, value_storage(p, n->in[i], BACKWARD), at->time[BACKWARD]);
    }
    for (int k = 0; at->backward && k < n->n_out; k++)
        if (has_bit(n->op->reads_out, k))
            plan_extend(p, output_storage(p, n, k, BACKWARD), at->time[BACKWARD]);
}

/* Whether another stage is on the same rank: what it gives may come before anybody takes it. Of two sides, each has one
   of them. */
static bool is_near(const struct plan *p, int stage)
{
    const int *home = p->graph->leaves->stages.home;
    if (place_group(&p->graph->leaves->here, OVER_SIDE) > 1) return false;
    return stage >= 0 && stage < p->graph->leaves->stages.n && home[stage] == home[p->part];
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

static void place_crossings(struct plan *p)
{
    for (int i = 0; i < p->outgoing.n; i++) place(p, &p->outgoing.crossing[i], false);
    for (int i = 0; i < p->incoming.n; i++) place(p, &p->incoming.crossing[i], true);
}

/* ---- calls ---- */

static struct tensor *tensors(struct plan *p, int n)
{
    return arena_alloc(p->arena, (size_t)(n + 1) * sizeof(struct tensor));
}

/* data, and packed where there will be one, hold the storage's number + 1 until plan_bind puts the
   address there. */
static struct tensor tensor_in(const struct plan *p, int storage, struct shape shape)
{
    if (storage == NONE) return (struct tensor){ .shape = shape };
    const struct storage *s = &p->storage[storage];
    void *number = (void *)(uintptr_t)(storage + 1);
    bool packed = s->where == IN_LEAF && !s->gradient && s->leaf->packed_bytes;
    return (struct tensor){
        .data = number, .shape = shape, .format = plan_format_of(p, s->decl.dtype), .packed = packed ? number : NULL
    };
}

static int storage_of(const struct tensor *t) { return t->data ? (int)((uintptr_t)t->data - 1) : NONE; }

/* Each factor of a product has a gradient, a product as large, but for a weight that is frozen. */
static int gradients_of(const struct node *n)
{
    int gradients = 2;
    for (int i = 0; i < n->n_in; i++) {
        const struct leaf *l = plan_leaf_of(n->in[i]);
        gradients -= has_bit(n->op->factors, i) && l && l->kind == LEAF_WEIGHT && l->frozen;
    }
    return gradients;
}

static struct call call_new(struct plan *p, const struct node *n, enum pass pass)
{
    const struct planned *at = &p->planned[n->id];
    struct tensor *in = tensors(p, n->n_in), *out = tensors(p, n->n_out), *save = tensors(p, n->n_save),
                  *work = tensors(p, n->n_work);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i]) in[i] = tensor_in(p, value_storage(p, n->in[i], pass), n->in[i]->shape);
    for (int k = 0; k < n->n_out; k++)
        out[k] = tensor_in(p, output_storage(p, n, k, pass), n->out[k].shape);
    for (int k = 0; k < n->n_save; k++) save[k] = tensor_in(p, save_storage(at, k, pass), n->save[k].shape);
    for (int k = 0; k < n->n_work; k++) work[k] = tensor_in(p, at->work[pass][k], n->work[k].shape);
    struct cost cost = { 0 };
    if (n->op->cost) n->op->cost(n, &cost);
    if (cost.bytes == 0) {
        for (int i = 0; i < n->n_in; i++)
            if (n->in[i]) cost.bytes += (double)shape_count(in[i].shape) * (double)element_bytes(in[i].format);
        for (int k = 0; k < n->n_out; k++)
            cost.bytes += (double)shape_count(out[k].shape) * (double)element_bytes(out[k].format);
    }
    struct filled filled = p->filled[n->id];
    cost.flops *= filled_work(filled, n);
    return (struct call){ .node = n, .pass = pass, .joint = pass == BACKWARD && at->joint, .chain = at->chain[pass],
                          .flops = cost.flops, .back = gradients_of(n) * cost.flops, .bytes = cost.bytes,
                          .filled = filled,
                          .args = { .attr = n->attr, .n_in = n->n_in, .in = in, .out = out, .save = save,
                                    .work = work, .step = &p->step } };
}

/* A backward call: the gradients that arrive, those that are wanted, and whether each is the first to be written.
   The first micro-batch of a step writes a weight's gradient, the later ones add to it. `later`: inputs that are the
   same tensor as one before them, whose gradients calls of their own add. */
static struct call call_backward(struct plan *p, const struct node *n, bool *written, unsigned *later)
{
    struct call c = call_new(p, n, BACKWARD);
    struct tensor *dout = tensors(p, n->n_out), *din = tensors(p, n->n_in);
    int now = p->planned[n->id].time[BACKWARD];
    for (int b = 0; b < 2; b++) c.beta[b] = arena_alloc(p->arena, (size_t)(n->n_in + 1) * sizeof(real));
    for (int k = 0; k < n->n_out; k++) {
        int storage = p->planned[n->id].grad[k];
        dout[k] = tensor_in(p, storage, n->out[k].shape);
    }
    *later = 0;
    for (int i = 0; i < n->n_in; i++) {
        if (!n->in[i]) continue;
        din[i] = (struct tensor){ .shape = n->in[i]->shape };
        if (!node_wants(n, i)) continue;
        int storage = grad_storage(p, n->in[i], now);
        bool weight = p->storage[storage].where == IN_LEAF, repeated = false;
        for (int j = 0; j < i; j++) repeated |= storage_of(&din[j]) == storage;
        INVARIANT(!repeated || i < 32, "%s: input %d repeats an earlier one, as those below 32 may", n->op->name, i);
        if (repeated) *later |= 1u << i;
        else din[i] = tensor_in(p, storage, n->in[i]->shape);
        if (weight && p->part >= 0 && p->writer[p->storage[storage].leaf->id] > p->part) written[storage] = true;
        c.beta[0][i] = written[storage] ? 1 : 0;
        c.beta[1][i] = written[storage] || weight ? 1 : 0;
        written[storage] = true;
    }
    c.args.dout = dout;
    c.args.din = din;
    return c;
}

static void add_call(struct plan *p, struct calls *to, struct call c)
{
    if (to->n == to->room) {
        struct call *more = arena_alloc(p->arena, (size_t)(to->room = 2 * to->room + 64) * sizeof c);
        if (to->n) memcpy(more, to->call, (size_t)to->n * sizeof c);
        to->call = more;
    }
    to->call[to->n++] = c;
}

static void plan_seeds(struct plan *p, bool *written)
{
    struct graph *g = p->graph;
    p->seed = arena_alloc(p->arena, (size_t)(g->n_losses + 1) * sizeof *p->seed);
    for (int i = 0; i < g->n_losses; i++) {
        if (!g->loss[i].value->grad || (p->part >= 0 && g->loss[i].value->stage != p->part) || p->part == PART_REST)
            continue;
        int storage = grad_storage(p, g->loss[i].value, p->first_backward), k = 0;
        while (k < p->n_seeds && p->seed[k].storage != storage) k++;
        INVARIANT(k == p->n_seeds || p->seed[k].of_step == g->loss[i].of_step, "%s: one value is a loss of two kinds",
                  g->loss[i].name);
        if (k == p->n_seeds) p->seed[p->n_seeds++] = (struct seed){ storage, 0, g->loss[i].of_step };
        p->seed[k].weight += g->loss[i].weight;
        written[storage] = true;
    }
}

static void count_flops(struct plan *p, const struct call *c)
{
    const struct planned *at = &p->planned[c->node->id];
    if (c->node->region != REGION_MICRO || c->pass == RECOMPUTE || (c->pass == BACKWARD && !c->joint)) return;
    p->report.forward_flops += c->flops;
    p->report.forward_bytes += c->bytes;
    p->report.train_flops += c->flops + (at->backward ? c->back : 0);
}

static struct tensor *copied(struct plan *p, const struct tensor *from, int n)
{
    struct tensor *to = tensors(p, n);
    for (int i = 0; i < n; i++) to[i] = from[i];
    return to;
}

/* The same call with tensors of its own. */
static struct call call_copy(struct plan *p, struct call c)
{
    const struct node *n = c.node;
    c.args.in = copied(p, c.args.in, n->n_in);
    c.args.out = copied(p, c.args.out, n->n_out);
    c.args.save = copied(p, c.args.save, n->n_save);
    c.args.work = copied(p, c.args.work, n->n_work);
    c.args.dout = copied(p, c.args.dout, n->n_out);
    return c;
}

/* The same backward call for the gradient of one input alone. */
static struct call call_of_input(struct plan *p, const struct call *c, int input)
{
    struct call one = call_copy(p, *c);
    struct tensor *din = tensors(p, c->args.n_in);
    for (int i = 0; i < c->args.n_in; i++) din[i].shape = c->args.din[i].shape;
    din[input] = tensor_in(p, grad_storage(p, c->node->in[input], p->planned[c->node->id].time[BACKWARD]),
                           din[input].shape);
    one.args.din = din;
    one.flops = one.back = 0;
    return one;
}

/* In a chain the gradients of rows are computed block by block; those of weights, sums over all
   rows, when it is done. */
static void split(struct plan *p, struct call *c, struct calls *whole)
{
    struct tensor *cut = tensors(p, c->args.n_in), *others = tensors(p, c->args.n_in);
    bool any = false;
    for (int i = 0; i < c->args.n_in; i++) {
        bool by_rows = has_bit(c->node->op->rows, i);
        cut[i] = others[i] = c->args.din[i];
        if (by_rows) others[i].data = NULL;
        else cut[i].data = NULL;
        any |= others[i].data != NULL;
    }
    c->args.din = cut;
    if (!any) return;
    struct call rest = call_copy(p, *c);
    rest.args.din = others;
    rest.chain = NONE;
    c->back = rest.back = c->back / 2;
    add_call(p, whole, rest);
}

static void extend_to_weight(struct plan *p, const struct tensor *t) { plan_extend(p, storage_of(t), p->end); }

/* What the gradient of weights reads waits for it. */
static void keep_for_weight(struct plan *p, const struct call *c)
{
    const struct op *op = c->node->op;
    for (int i = 0; i < c->args.n_in; i++) if (has_bit(op->reads_in, i)) extend_to_weight(p, &c->args.in[i]);
    for (int k = 0; k < c->node->n_out; k++) {
        if (has_bit(op->reads_out, k)) extend_to_weight(p, &c->args.out[k]);
        extend_to_weight(p, &c->args.dout[k]);
    }
    for (int k = 0; k < c->node->n_save; k++) extend_to_weight(p, &c->args.save[k]);
}

static bool is_in_halves(const struct plan *p)
{
    return p->part >= 0 && p->graph->leaves->stages.schedule >= PIPELINE_ZB_H1;
}

/* A backward call; where a schedule has it in halves, the gradients of a product's weights are a call of their own. */
static void add_halves(struct plan *p, struct call c)
{
    if (!is_in_halves(p) || c.joint) { add_call(p, &p->backward, c); return; }
    struct tensor *inputs = tensors(p, c.args.n_in), *weights = tensors(p, c.args.n_in);
    bool any = false, others = false;
    for (int i = 0; i < c.args.n_in; i++) {
        const struct tensor *din = &c.args.din[i];
        bool weight = din->data && has_bit(c.node->op->factors, i) && p->storage[storage_of(din)].where == IN_LEAF;
        inputs[i] = weights[i] = *din;
        (weight ? inputs : weights)[i].data = NULL;
        any |= weight;
        others |= din->data && !weight;
    }
    if (!any) { add_call(p, &p->backward, c); return; }
    struct call half = call_copy(p, c);
    half.args.din = weights;
    half.chain = NONE;
    keep_for_weight(p, &half);
    if (others) {
        c.args.din = inputs;
        c.back = half.back = c.back / 2;
        add_call(p, &p->backward, c);
    }
    add_call(p, &p->weight, half);
}

static void add_whole(struct plan *p, struct calls *whole)
{
    for (int i = 0; i < whole->n; i++) add_halves(p, whole->call[i]);
    whole->n = 0;
}

static int chain_before(const struct plan *p, int entry)
{
    const struct entry *before = &p->order[entry - 1];
    return p->planned[before->node->id].chain[before->pass];
}

static void plan_calls(struct plan *p)
{
    struct graph *g = p->graph;
    bool *written = xcalloc((size_t)(p->n_storages + 4 * g->n + 16), sizeof *written);
    struct calls whole = { 0 };
    plan_seeds(p, written);
    for (int i = 0; i < p->outgoing.n; i++)
        if (p->outgoing.crossing[i].grad != NONE) written[p->outgoing.crossing[i].grad] = true;
    for (int i = 0; i < p->n_order; i++) {
        const struct node *n = p->order[i].node;
        enum pass pass = p->order[i].pass;
        unsigned later = 0;
        struct call c = pass == BACKWARD ? call_backward(p, n, written, &later) : call_new(p, n, pass);
        struct calls *to = n->region == REGION_UPDATE ? &p->update
                           : i < p->n_ahead           ? &p->ahead
                           : i < p->n_once            ? &p->once
                           : i < p->n_forward         ? &p->forward
                                                      : &p->backward;
        if (to != &p->backward || i == p->n_forward || c.chain != chain_before(p, i)) add_whole(p, &whole);
        count_flops(p, &c);
        if (pass == BACKWARD && c.chain != NONE) split(p, &c, &whole);
        if (pass == BACKWARD) add_halves(p, c);
        else add_call(p, to, c);
        for (int k = 0; k < 32; k++) {
            if (!has_bit(later, k)) continue;
            struct call one = call_of_input(p, &c, k);
            if (one.chain != NONE) split(p, &one, &whole);
            add_halves(p, one);
        }
    }
    add_whole(p, &whole);
    free(written);
}

/* Whether what b reads beside what a makes is there before a runs. */
static bool waits_for_none(const struct plan *p, const struct call *a, const struct call *b)
{
    int now = p->planned[a->node->id].time[FORWARD];
    for (int k = 0; k < b->node->n_in; k++) {
        const struct node *root = b->node->in[k] ? node_root(b->node->in[k]).node : NULL;
        if (!root || root->op->kind != OP_COMPUTE) continue;
        int time = p->planned[root->id].time[FORWARD];
        if (time > now || (time == now && root->id > a->node->id)) return false;
    }
    return true;
}

/* What two calls compute together: the second runs with the first, so that its results live from the time of
   the first. */
static void fuse(struct plan *p)
{
    enum { NEAR = 8 };                                      /* metrics may stand between them */
    struct calls *f = &p->forward;
    for (int i = 0; p->how.backend->fuse && i < f->n; i++) {
        struct call *a = &f->call[i];
        for (int k = i + 1; k < f->n && k <= i + NEAR && !a->fused && !a->follower; k++) {
            struct call *b = &f->call[k];
            if (b->follower || b->fused || !b->args.n_in || b->args.in[0].data != a->args.out[0].data) continue;
            if (!waits_for_none(p, a, b)) continue;
            a->fused = p->how.backend->fuse(op_index(a->node->op), &a->args, op_index(b->node->op), &b->args);
            if (!a->fused) continue;
            a->args.next = &b->args;
            b->follower = true;
            for (int o = 0; o < b->node->n_out; o++)
                plan_extend(p, storage_of(&b->args.out[o]), p->planned[a->node->id].time[FORWARD]);
            for (int o = 0; o < b->node->n_save; o++)
                plan_extend(p, storage_of(&b->args.save[o]), p->planned[a->node->id].time[FORWARD]);
        }
    }
}

/* Updates of one kind that follow each other and that this rank runs. */
static void link_updates(struct plan *p)
{
    struct call *head = NULL, *tail = NULL;
    for (int i = 0; p->how.backend->fuse && i < p->update.n; i++) {
        struct call *c = &p->update.call[i];
        if (!ranks_mine(c)) continue;
        bool goes_on = tail && p->planned[tail->node->id].phase == p->planned[c->node->id].phase;
        kernel *all = NULL;
        if (goes_on) all = p->how.backend->fuse(op_index(tail->node->op), &tail->args, op_index(c->node->op), &c->args);
        if (!all) { head = tail = c; continue; }
        head->fused = all;
        tail->args.next = &c->args;
        c->follower = true;
        tail = c;
    }
}

int plan_fused(const struct plan *p, int first, int second)
{
    const struct calls *all[] = { &p->forward, &p->update };
    int n = 0;
    for (int k = 0; k < COUNT(all); k++)
        for (int i = 0; i < all[k]->n; i++)
            for (int j = i + 1; j < all[k]->n; j++)
                n += op_index(all[k]->call[i].node->op) == first && op_index(all[k]->call[j].node->op) == second &&
                     all[k]->call[i].args.next == &all[k]->call[j].args;
    return n;
}

/* That of calls which go beside others is theirs. */
static size_t scratch_bytes(const struct plan *p, bool beside)
{
    const struct calls *all[] = { &p->ahead, &p->once, &p->forward, &p->backward, &p->weight, &p->update };
    size_t most = 0;
    for (int k = 0; k < COUNT(all) && p->how.backend->scratch; k++)
        for (int i = 0; i < all[k]->n; i++) {
            const struct call *c = &all[k]->call[i];
            size_t bytes = c->beside == beside ? p->how.backend->scratch(op_index(c->node->op), &c->args) : 0;
            if (bytes > most) most = bytes;
        }
    return offsets_round(most);
}

static int by_bridge(const void *a, const void *b)
{
    const struct storage *x = *(struct storage *const *)a, *y = *(struct storage *const *)b;
    if (x->bridge != y->bridge) return x->bridge < y->bridge ? -1 : 1;
    if (x->phase != y->phase) return x->phase < y->phase ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* What ranks combine alike, and at once, lies together. */
static void assign_carries(struct plan *p)
{
    struct storage **carried = xmalloc((size_t)(p->n_storages + 1) * sizeof *carried);
    size_t end[BRIDGES] = { 0 }, at = 0;
    int n = 0;
    for (int i = 0; i < p->n_storages; i++) if (p->storage[i].where == IN_CARRIES) carried[n++] = &p->storage[i];
    if (n) qsort(carried, (size_t)n, sizeof *carried, by_bridge);
    enum bridge bridge = 0;
    for (int i = 0; i < n; i++) {
        while (bridge < carried[i]->bridge) end[bridge++] = at;
        carried[i]->offset = at;
        at += offsets_round(plan_decl_bytes(p, carried[i]->decl));
    }
    while (bridge < BRIDGES) end[bridge++] = at;
    free(carried);
    p->aheads = end[BRIDGE_AHEAD];
    p->sums = end[BRIDGE_SUM];
    p->maxes = end[BRIDGE_MAX];
    p->lasts = end[BRIDGE_LAST];
    p->changes = end[BRIDGE_CHANGE];
    p->homes = end[BRIDGE_HOME];
    p->seeds = at;
    p->report.carries = at + (size_t)p->n_seeds * OFFSETS_ALIGNMENT;
}

/* Of a stage, what lives from one action of a micro-batch to another. */
static void find_kept(struct plan *p)
{
    for (int i = 0; p->part >= 0 && i < p->n_storages; i++) {
        struct storage *s = &p->storage[i];
        bool outlives = s->kept || s->to >= p->end || (s->from < p->first_backward && s->to >= p->first_backward);
        if (s->where == IN_ARENA && outlives && !s->once) s->where = IN_SLOT;
    }
}

/* Offsets of all that lies there; returns how much that is. */
static size_t assign(struct plan *p, int where)
{
    struct span *span = xcalloc((size_t)p->n_storages + 1, sizeof *span);
    int n = 0;
    for (int i = 0; i < p->n_storages; i++) {
        struct storage *s = &p->storage[i];
        if ((int)s->where != where) continue;
        s->span = n;
        span[n++] = (struct span){ .bytes = plan_decl_bytes(p, s->decl), .from = s->kept ? 0 : s->from,
                                   .to = s->kept ? p->end + 1 : s->to };
    }
    size_t bytes = offsets_assign(span, n);
    for (int i = 0; i < p->n_storages; i++)
        if ((int)p->storage[i].where == where) p->storage[i].offset = span[p->storage[i].span].offset;
    free(span);
    return bytes;
}

static void plan_memory(struct plan *p)
{
    find_kept(p);
    p->scratch = assign(p, IN_ARENA);
    p->slot_bytes = assign(p, IN_SLOT);
    p->scratch_bytes = scratch_bytes(p, false);
    p->report.arena = p->scratch + p->scratch_bytes + scratch_bytes(p, true);
    assign_carries(p);
    struct state_bytes b = state_layout(p->graph->leaves);
    p->report.weights = b.of[SLAB_WEIGHTS];
    p->report.frozen = b.of[SLAB_FROZEN];
    p->report.packed = b.of[SLAB_PACKED];
    p->report.grads = b.of[p->backward.n ? SLAB_WEIGHTS : SLAB_GRADS];
    p->report.buffers = b.of[SLAB_BUFFERS];
    p->report.offloaded = b.of[SLAB_OFFLOADED];
    p->report.inputs = b.of[SLAB_CONTROLS] + b.of[SLAB_INPUTS];
    p->report.total = p->report.weights + p->report.frozen + p->report.packed + p->report.grads + p->report.buffers +
                      p->report.inputs + p->report.carries + p->report.arena;
}

int plan_part(struct plan **out, struct graph *g, struct plan_how how, int part, struct err *e)
{
    if (g->failed) return err_set(e, "%s", g->err.text);
    struct plan *p = xcalloc(1, sizeof *p);
    p->arena = arena_new();
    p->graph = g;
    p->how = how;
    p->part = part;
    if (sizeof(real) != sizeof(float)) p->how.precision = PRECISION_FP32;
    p->planned = arena_alloc(p->arena, (size_t)(g->n + 1) * sizeof *p->planned);
    if (update_find(p, e)) { plan_free(p); return -1; }
    order_find(p);
    for (int i = 0; i < g->n; i++) declare(p, g->node[i]);
    for (int i = 0; i < g->n; i++) live_through(p, g->node[i]);
    place_crossings(p);
    p->filled = graph_filled(g);
    plan_calls(p);
    free(p->filled);
    fuse(p);
    link_updates(p);
    overlap_find(p, &p->once);
    overlap_find(p, &p->forward);
    overlap_find(p, &p->backward);
    overlap_find(p, &p->weight);
    plan_memory(p);
    *out = p;
    return 0;
}

void plan_free(struct plan *p)
{
    if (!p) return;
    if (p->state) {
        const struct backend *b = p->how.backend;
        if (p->recording) b->forget(p->state->device, p->recording);
        if (!p->borrows) b->release(p->state->device, p->memory, p->arena_bytes);
        if (p->part < 0) b->release(p->state->device, p->carries, p->report.carries);
        else b->release(p->state->device, p->seed_memory, (size_t)p->n_seeds * OFFSETS_ALIGNMENT);
        if (p->slot_memory) b->release(p->state->device, p->slot_memory, (size_t)p->slots * p->slot_bytes);
        for (int i = 0; p->separate && i < p->n_storages; i++)
            b->release(p->state->device, p->separate[i], plan_decl_bytes(p, p->storage[i].decl));
        free(p->separate);
        free(p->gathered);
    }
    for (int c = 0; c < p->n_chunks; c++) plan_free(p->chunk[c]);
    if (p->table) arena_free(p->table);
    free(p->holds);
    free(p->slotted);
    free(p->stamped);
    free(p->time);
    free(p->storage);
    arena_free(p->arena);
    free(p);
}

const struct plan_report *plan_report(const struct plan *p) { return &p->report; }

size_t plan_bytes(const struct plan *p, const struct plan *other)
{
    size_t shared = pipe_is(p) ? 0 : p->report.arena, bytes = p->report.total;
    if (other)
        bytes += other->report.carries + (other->report.arena > shared ? other->report.arena - shared : 0);
    return bytes;
}
