/* Building a graph: nodes in order of computation, leaves by path, the first error kept. */
#include "base/nf4.h"
#include "signature.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLE_RULE(upper, name, about, outside, exempt, real, reads) \
    { name, about, outside, exempt, real, READS_##reads },
const struct role_rule role_rule[ROLE_COUNT] = { ROLE_LIST(ROLE_RULE) };

/* ---- leaves ---- */

struct leaves *leaves_new(void)
{
    struct leaves *l = xcalloc(1, sizeof *l);
    l->arena = arena_new();
    return l;
}

void leaves_free(struct leaves *l)
{
    if (!l) return;
    arena_free(l->arena);
    free(l->leaf);
    free(l->slot);
    free(l);
}

/* Where the number of a path stands, or would. */
static int *slot_of(const struct leaves *l, const char *path)
{
    uint64_t i = hash_bytes(path, strlen(path)).low;
    for (;; i++) {
        int *slot = &l->slot[i & (uint64_t)(l->n_slots - 1)];
        if (*slot == 0 || strcmp(l->leaf[*slot - 1]->path, path) == 0) return slot;
    }
}

struct leaf *leaves_find(const struct leaves *l, const char *path)
{
    int number = l->n ? *slot_of(l, path) : 0;
    return number ? l->leaf[number - 1] : NULL;
}

const struct leaf *leaves_average(const struct leaves *l, const struct leaf *of)
{
    for (int i = 0; i < l->n; i++) if (l->leaf[i]->kind == LEAF_BUFFER && l->leaf[i]->of == of) return l->leaf[i];
    return NULL;
}

/* Half of the slots stay free. */
static void grow(struct leaves *l)
{
    l->room = l->room ? 2 * l->room : 64;
    l->leaf = xrealloc(l->leaf, (size_t)l->room * sizeof *l->leaf);
    free(l->slot);
    l->n_slots = 2 * l->room;
    l->slot = xcalloc((size_t)l->n_slots, sizeof *l->slot);
    for (int i = 0; i < l->n; i++) *slot_of(l, l->leaf[i]->path) = i + 1;
}

static struct leaf *leaves_add(struct leaves *l, const char *path, enum leaf_kind kind, struct decl decl)
{
    if (l->n == l->room) grow(l);
    struct leaf *leaf = arena_alloc(l->arena, sizeof *leaf);
    leaf->kind = kind;
    leaf->path = arena_text(l->arena, "%s", path);
    leaf->decl = decl;
    leaf->values = leaf->whole = decl.shape;
    leaf->stack = leaf->heads = 1;
    leaf->active = 1;
    leaf->id = l->n;
    *slot_of(l, path) = l->n + 1;
    l->leaf[l->n++] = leaf;
    return leaf;
}

/* ---- nodes ---- */

/* Of a shape that every module can take apart, and a leaf whose path it can read. */
static struct node *poison_new(struct graph *g)
{
    struct node *n = arena_alloc(g->arena, sizeof *n);
    struct leaf *l = arena_alloc(g->arena, sizeof *l);
    *l = (struct leaf){
        .kind = LEAF_INPUT, .path = "poison", .decl = { { .rank = 2, .dim = { 1, 1, 1, 1 } }, DTYPE_REAL },
        .stack = 1, .heads = 1, .active = 1
    };
    *n = (struct node){ .op = &op_leaf, .graph = g, .path = g->path, .leaf = l, .n_out = NODE_OUTS };
    for (int k = 0; k < NODE_OUTS; k++) n->out[k] = l->decl;
    n->shape = l->decl.shape;
    n->dtype = l->decl.dtype;
    return n;
}

struct graph *graph_new(struct leaves *leaves)
{
    struct graph *g = xcalloc(1, sizeof *g);
    g->arena = arena_new();
    g->leaves = leaves;
    g->region = REGION_MICRO;
    g->layer = -1;
    g->path = "";
    g->poison = poison_new(g);
    return g;
}

void graph_free(struct graph *g)
{
    if (!g) return;
    arena_free(g->arena);
    free(g->node);
    free(g->leaf_node);
    free(g->probe);
    free(g->loss);
    free(g);
}

struct node *graph_fail(struct graph *g, const char *format, ...)
{
    if (g->failed) return g->poison;
    g->failed = true;
    va_list list;
    va_start(list, format);
    vsnprintf(g->err.text, sizeof g->err.text, format, list);
    va_end(list);
    return g->poison;
}

/* How many inputs a node has: an op of any number has those that are given. */
static int inputs_of(const struct op *op, int given)
{
    struct op_value in;
    int n = 0;
    while (op_input(op, n, &in) && !in.many) n++;
    return in.many && given > n ? given : n;
}

struct root node_root(const struct node *n)
{
    int output = 0;
    for (;;) {
        if (n->op == &op_result) return (struct root){ n->in[0], n->output };
        if (n->op->kind == OP_ALIAS || (n->op->kind == OP_COMPUTE && n->op->in_place)) n = n->in[0];
        else return (struct root){ n, output };
    }
}

void node_value(struct node *n, enum dtype dtype, struct shape shape)
{
    n->dtype = dtype;
    n->shape = shape;
    n->out[0] = (struct decl){ shape, dtype };
    if (n->n_out == 0) n->n_out = 1;
}

int node_output(struct node *n, enum dtype dtype, struct shape shape)
{
    INVARIANT(n->n_out > 0 && n->n_out < NODE_OUTS, "%s: outputs are declared after the value, at most %d", n->op->name,
              NODE_OUTS);
    n->out[n->n_out] = (struct decl){ shape, dtype };
    return n->n_out++;
}

int node_save(struct node *n, enum dtype dtype, struct shape shape)
{
    INVARIANT(n->n_save < NODE_SAVES, "%s: more than %d saved tensors", n->op->name, NODE_SAVES);
    n->save[n->n_save] = (struct decl){ shape, dtype };
    return n->n_save++;
}

int node_work(struct node *n, enum dtype dtype, struct shape shape)
{
    INVARIANT(n->n_work < NODE_WORKS, "%s: more than %d work tensors", n->op->name, NODE_WORKS);
    n->work[n->n_work] = (struct decl){ shape, dtype };
    return n->n_work++;
}

bool node_wants(const struct node *n, int input)
{
    return n->in[input] && n->in[input]->grad && !has_bit(n->op->no_grad, input);
}

/* A gradient reaches a node when one of its inputs has one and the op passes it on. */
static bool passes_gradient(const struct node *n)
{
    if (n->region != REGION_MICRO) return false;
    if (n->op == &op_leaf) return leaf_trains(n->leaf);
    if (n->op == &op_detach || (n->op->kind == OP_COMPUTE && !n->op->gradient)) return false;
    if (n->dtype == DTYPE_I32 || n->dtype == DTYPE_U8) return false;
    if (n->op == &op_result && n->in[0]->op->no_grad_out >> n->output & 1) return false;
    for (int i = 0; i < n->n_in; i++) if (node_wants(n, i)) return true;
    return false;
}

static struct node *append(struct graph *g, const struct op *op, const void *attr, size_t attr_size, int n,
                           struct node *const *inputs)
{
    struct node *node = arena_alloc(g->arena, sizeof *node);
    node->op = op;
    node->graph = g;
    node->path = g->path;
    node->id = g->n;
    node->layer = g->layer;
    node->region = g->region;
    node->n_in = n;
    node->in = arena_copy(g->arena, inputs, (size_t)n * sizeof *inputs);
    node->attr = attr_size ? arena_copy(g->arena, attr, attr_size) : NULL;
    node->attr_size = attr_size;
    return node;
}

static struct node *publish(struct graph *g, struct node *node)
{
    if (g->n == g->room) {
        g->room = g->room ? 2 * g->room : 256;
        g->node = xrealloc(g->node, (size_t)g->room * sizeof *g->node);
    }
    node->grad = passes_gradient(node);
    g->node[g->n++] = node;
    return node;
}

/* What another region computes is read through a carry, which a later region finds. */
static bool is_beyond(const struct graph *g, const struct node *in)
{
    struct root r = node_root(in);
    return r.node->region != g->region && r.node->op->kind == OP_COMPUTE &&
           !(has_bit(r.node->op->bridges, r.output) && r.node->region < g->region);
}

/* Whether the inputs are what the op says; else fails. */
static bool are_inputs(struct graph *g, const struct op *op, int n, struct node *const *inputs)
{
    struct op_value in;
    struct extents extents = { .has_rest = false };
    struct err e;
    if (n == 0 && op_input(op, 0, &in)) graph_fail(g, "%s: %s: there are no %s", g->path, op->name, in.name);
    for (int i = 0; i < n; i++)
        if (!inputs[i] && op_input(op, i, &in) && !in.optional)
            graph_fail(g, "%s: %s: input '%s' is missing", g->path, op->name, in.name);
    for (int i = 0; i < n && !g->failed; i++) {
        if (!inputs[i]) continue;
        op_input(op, i, &in);
        if (is_beyond(g, inputs[i]))
            graph_fail(g, "%s: %s: '%s' is %s of another region, which only a carry brings over", g->path, op->name,
                       in.name, inputs[i]->op->name);
        else if (op_fits(&extents, &in, (struct decl){ inputs[i]->shape, inputs[i]->dtype }, &e) != 0)
            graph_fail(g, "%s: %s: %s", g->path, op->name, e.text);
    }
    return !g->failed;
}

struct node *graph_emit_n(struct graph *g, const struct op *op, const void *attr, int given,
                          struct node *const *inputs)
{
    if (g->failed) return g->poison;
    int n = inputs_of(op, given);
    if (g->fail_at && g->n >= g->fail_at) return graph_fail(g, "%s: %s: asked to fail", g->path, op->name);
    if (given > n) return graph_fail(g, "%s: %s: inputs are %d, not %d", g->path, op->name, n, given);
    struct node **in = arena_alloc(g->arena, (size_t)n * sizeof *in);
    for (int i = 0; i < n; i++) in[i] = i < given ? inputs[i] : NULL;
    if (!are_inputs(g, op, n, in)) return g->poison;
    struct node *node = append(g, op, attr, op->attr_size, n, in);
    struct err e;
    if (op_knows(op, attr, &e) != 0 || op->infer(node, &e) != 0)
        return graph_fail(g, "%s: %s: %s", g->path, op->name, e.text);
    return publish(g, node);
}

/* Where the node of a leaf in this region is kept. */
static struct node **node_of(struct graph *g, const struct leaf *leaf)
{
    if (leaf->id >= g->n_leaves) {
        int before = g->n_leaves;
        g->n_leaves = 2 * g->leaves->n;
        g->leaf_node = xrealloc(g->leaf_node, (size_t)g->n_leaves * REGIONS * sizeof *g->leaf_node);
        for (int i = before * REGIONS; i < g->n_leaves * REGIONS; i++) g->leaf_node[i] = NULL;
    }
    return &g->leaf_node[leaf->id * REGIONS + (int)g->region];
}

struct node *graph_leaf(struct graph *g, struct leaf *leaf)
{
    if (g->failed) return g->poison;
    struct node **kept = node_of(g, leaf), *node = *kept;
    if (node) return node;
    *kept = node = append(g, &op_leaf, NULL, 0, 0, NULL);
    node->leaf = leaf;
    node->path = leaf->path;
    node_value(node, leaf->decl.dtype, leaf->decl.shape);
    return publish(g, node);
}

/* The leaf of a path: new, or the one that is there, which must agree. */
static struct leaf *demand_leaf(struct graph *g, const char *path, enum leaf_kind kind, struct decl decl, bool *made)
{
    char old[64], now[64];
    struct leaf *leaf = leaves_find(g->leaves, path);
    *made = !leaf;
    if (!leaf) {
        if (g->leaves->closed && (kind == LEAF_WEIGHT)) {
            graph_fail(g, "%s: the model has no such weight", path);
            return NULL;
        }
        return leaves_add(g->leaves, path, kind, decl);
    }
    if (leaf->kind != kind || leaf->decl.dtype != decl.dtype || !shape_equal(leaf->decl.shape, decl.shape)) {
        graph_fail(g, "%s: is used with shape %s and with %s", path, shape_text(leaf->decl.shape, old),
                   shape_text(decl.shape, now));
        return NULL;
    }
    return leaf;
}

struct node *graph_input(struct graph *g, const char *name, enum dtype dtype, struct shape shape)
{
    if (g->failed) return g->poison;
    bool made;
    struct leaf *leaf = demand_leaf(g, name, LEAF_INPUT, (struct decl){ shape, dtype }, &made);
    return leaf ? graph_leaf(g, leaf) : g->poison;
}

static void cut_leaf(struct leaf *l, struct partition cut, struct shape whole)
{
    l->over = cut.over;
    l->shard = cut.shard;
    l->cut = cut.dim;
    l->whole = whole;
}

static struct node *weight(struct graph *g, const char *path, enum role role, struct shape values, struct init init,
                           struct decl decl)
{
    if (g->failed) return g->poison;
    bool made;
    struct leaf *leaf = demand_leaf(g, path, LEAF_WEIGHT, decl, &made);
    if (!leaf) return g->poison;
    if (made) {
        leaf->role = role;
        leaf->reads = role_rule[role].reads;
        leaf->init = init;
        leaf->values = values;
        const struct shape here = decl.shape.rank == values.rank ? decl.shape : values;
        for (int i = 0; i + 2 < here.rank; i++) leaf->stack *= (int)here.dim[i];
    }
    return graph_leaf(g, leaf);
}

struct node *graph_weight(struct graph *g, const char *path, enum role role, struct shape shape, struct init init)
{
    return weight(g, path, role, shape, init, (struct decl){ shape, DTYPE_REAL });
}

struct node *graph_weight_cut(struct graph *g, const char *path, enum role role, struct shape whole, struct init init,
                              struct partition cut)
{
    int n = place_group(&g->leaves->here, cut.over | cut.shard);
    struct shape part = whole;
    char text[64];
    if (n == 1) {
        struct node *w = graph_weight(g, path, role, whole, init);
        if (!g->failed && place_group(&g->leaves->here, cut.read) > 1) {
            w->leaf->read = cut.read;
            w->leaf->cut = cut.dim;
        }
        return w;
    }
    part.dim[cut.dim] /= n;
    if (part.dim[cut.dim] * n != whole.dim[cut.dim])
        return graph_fail(g, "%s: dimension %d of %s cannot be divided among %d ranks", path, cut.dim,
                          shape_text(whole, text), n);
    struct node *w = weight(g, path, role, whole, init, (struct decl){ part, DTYPE_REAL });
    if (!g->failed) cut_leaf(w->leaf, cut, whole);
    return w;
}

struct node *graph_freeze(struct node *w)
{
    if (w->graph->failed) return w;
    w->leaf->frozen = true;
    w->grad = false;
    return w;
}

struct node *graph_codes(struct graph *g, const char *path, enum role role, struct shape values, struct init init,
                         enum kept_as kept)
{
    struct shape codes = SHAPE((int64_t)nf4_places(kept, shape_count(values)).bytes);
    struct node *w = graph_freeze(weight(g, path, role, values, init, (struct decl){ codes, DTYPE_U8 }));
    if (!g->failed) w->leaf->kept = kept;
    return w;
}

struct node *graph_buffer(struct graph *g, const char *path, enum dtype dtype, struct shape shape, double value)
{
    if (g->failed) return g->poison;
    bool made;
    struct leaf *leaf = demand_leaf(g, path, LEAF_BUFFER, (struct decl){ shape, dtype }, &made);
    if (!leaf) return g->poison;
    if (made) leaf->init = (struct init){ .kind = INIT_CONSTANT, .value = value };
    return graph_leaf(g, leaf);
}

/* Of a buffer as large as the weight the same dimension; of one that has something for each row or matrix, the
   first. */
struct node *graph_buffer_of(struct graph *g, const char *path, enum dtype dtype, struct shape part,
                             const struct leaf *w)
{
    struct node *n = graph_buffer(g, path, dtype, part, 0);
    char text[64];
    if (!g->failed) n->leaf->home = w->home;
    if (g->failed || !(w->over | w->shard)) return n;
    bool alike = shape_equal(part, w->decl.shape);
    if (!alike && (w->cut > 0 || part.dim[0] % w->decl.shape.dim[0] != 0))
        return graph_fail(g, "%s: %s does not go with a weight whose dimension %d is cut among ranks", path,
                          shape_text(part, text), w->cut);
    int dim = alike ? w->cut : 0;
    struct shape whole = part;
    whole.dim[dim] *= leaf_parts(w, &g->leaves->here);
    n->leaf->values = whole;
    cut_leaf(n->leaf, (struct partition){ .dim = dim, .over = w->over, .shard = w->shard }, whole);
    return n;
}

struct node *graph_control(struct graph *g, const char *name, struct control control)
{
    if (g->failed) return g->poison;
    bool made;
    struct leaf *leaf = demand_leaf(g, name, LEAF_CONTROL, (struct decl){ SHAPE(1), DTYPE_REAL }, &made);
    if (!leaf) return g->poison;
    if (made) {
        leaf->control = control;
        if (control.conf_size) leaf->control.conf = arena_copy(g->leaves->arena, control.conf, control.conf_size);
    }
    return graph_leaf(g, leaf);
}

struct node *graph_grad_of(struct graph *g, struct leaf *weight)
{
    if (g->failed) return g->poison;
    INVARIANT(weight->kind == LEAF_WEIGHT, "%s has no gradient: it is no weight", weight->path);
    char path[512];
    snprintf(path, sizeof path, "grad.%s", weight->path);
    bool made;
    struct leaf *leaf = demand_leaf(g, path, LEAF_GRAD, (struct decl){ weight->decl.shape, DTYPE_REAL }, &made);
    if (!leaf) return g->poison;
    leaf->of = weight;
    leaf->transient = true;
    return graph_leaf(g, leaf);
}

struct node *graph_average_of(struct graph *g, struct leaf *of)
{
    if (g->failed) return g->poison;
    char path[512];
    snprintf(path, sizeof path, "average.%s", of->path);
    struct node *n = graph_buffer_of(g, path, of->decl.dtype, of->decl.shape, of);
    if (g->failed) return n;
    n->leaf->of = of;
    n->leaf->of_update = true;
    n->leaf->init = of->init;
    return n;
}

struct node *graph_result(struct graph *g, struct node *n, int output)
{
    if (g->failed) return g->poison;
    if (output >= n->n_out) return graph_fail(g, "%s: %s has no output %d", g->path, n->op->name, output);
    if (output == 0) return n;
    for (int i = n->id + 1; i < g->n; i++)
        if (g->node[i]->op == &op_result && g->node[i]->in[0] == n && g->node[i]->output == output) return g->node[i];
    struct node *node = append(g, &op_result, &output, sizeof output, 1, &n);
    node->output = output;
    node_value(node, n->out[output].dtype, n->out[output].shape);
    return publish(g, node);
}

struct node *view(struct graph *g, struct node *x, struct shape shape)
{
    if (g->failed) return g->poison;
    if (shape_count(shape) != shape_count(x->shape)) {
        char from[64], to[64];
        return graph_fail(g, "%s: view: %s has another count than %s", g->path, shape_text(x->shape, from),
                          shape_text(shape, to));
    }
    struct node *node = append(g, &op_view, NULL, 0, 1, &x);
    node_value(node, x->dtype, shape);
    return publish(g, node);
}

struct node *detach(struct graph *g, struct node *x)
{
    if (g->failed) return g->poison;
    struct node *node = append(g, &op_detach, NULL, 0, 1, &x);
    node_value(node, x->dtype, x->shape);
    return publish(g, node);
}

void graph_loss(struct graph *g, const char *name, struct node *value, double weight, bool of_step)
{
    char text[64];
    if (g->failed) return;
    if (value->dtype != DTYPE_REAL || shape_count(value->shape) != 1) {
        graph_fail(g, "%s: loss '%s' is one REAL number, not %s", g->path, name, shape_text(value->shape, text));
        return;
    }
    if (g->n_losses == g->loss_room) {
        g->loss_room = g->loss_room ? 2 * g->loss_room : 16;
        g->loss = xrealloc(g->loss, (size_t)g->loss_room * sizeof *g->loss);
    }
    g->loss[g->n_losses++] = (struct loss){ arena_text(g->arena, "%s", name), value, weight, of_step };
}

void graph_probe(struct graph *g, const char *name, const char *unit, enum better better, const char *about, int n,
                 const struct term *term)
{
    if (g->failed) return;
    if (g->n_probes == g->probe_room) {
        g->probe_room = g->probe_room ? 2 * g->probe_room : 64;
        g->probe = xrealloc(g->probe, (size_t)g->probe_room * sizeof *g->probe);
    }
    g->probe[g->n_probes++] = (struct probe){ arena_text(g->arena, "%s", name),
                                              arena_text(g->arena, "%s", unit),
                                              arena_text(g->arena, "%s", about),
                                              better,
                                              g->layer,
                                              n,
                                              arena_copy(g->arena, term, (size_t)n * sizeof *term) };
}

static const int no_kernel = -1;
const struct op op_leaf = { .name = "leaf", .index = &no_kernel, .kind = OP_LEAF };
const struct op op_result = { .name = "result", .index = &no_kernel, .kind = OP_ALIAS };
const struct op op_view = { .name = "view", .index = &no_kernel, .kind = OP_ALIAS };
const struct op op_detach = { .name = "detach", .index = &no_kernel, .kind = OP_ALIAS };
