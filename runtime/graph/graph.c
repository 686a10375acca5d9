/* Building a graph: nodes in order of computation, leaves by path, the first error kept. */
#include "ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct role_rule role_rule[ROLE_COUNT] = {         /* outside, exempt */
    [ROLE_EMBED]    = { "embed", "vectors of tokens, also where the head is tied to them", true, true },
    [ROLE_HEAD]     = { "head", "an untied head", true, false },
    [ROLE_Q]        = { "q", "projection to queries", false, false },
    [ROLE_K]        = { "k", "projection to keys", false, false },
    [ROLE_V]        = { "v", "projection to values", false, false },
    [ROLE_OUT]      = { "out", "projection of attention's heads", false, false },
    [ROLE_GATE]     = { "gate", "gates of attention's heads", false, false },
    [ROLE_FFN_GATE] = { "ffn_gate", "gate of a feed-forward, of shared experts or of each expert", false, false },
    [ROLE_FFN_UP]   = { "ffn_up", "its projection up", false, false },
    [ROLE_FFN_DOWN] = { "ffn_down", "its projection down", false, false },
    [ROLE_ROUTER]   = { "router", "scores of experts", false, false },
    [ROLE_TABLE]    = { "table", "rows of hashed n-grams", true, true },
    [ROLE_MIX]      = { "mix", "n-grams to the model's width; what joins token and trunk in multi-token prediction", false, false },
    [ROLE_GAIN]     = { "gain", "gains of norms", true, true },
};

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
    free(l);
}

struct leaf *leaves_find(const struct leaves *l, const char *path)
{
    for (int i = 0; i < l->n; i++) if (strcmp(l->leaf[i]->path, path) == 0) return l->leaf[i];
    return NULL;
}

static struct leaf *leaves_add(struct leaves *l, const char *path, enum leaf_kind kind, struct decl decl)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 64;
        l->leaf = xrealloc(l->leaf, (size_t)l->room * sizeof *l->leaf);
    }
    struct leaf *leaf = arena_alloc(l->arena, sizeof *leaf);
    leaf->kind = kind;
    leaf->path = arena_text(l->arena, "%s", path);
    leaf->decl = decl;
    leaf->stack = 1;
    leaf->active = 1;
    leaf->id = l->n;
    l->leaf[l->n++] = leaf;
    return leaf;
}

/* ---- nodes ---- */

struct graph *graph_new(struct leaves *leaves)
{
    struct graph *g = xcalloc(1, sizeof *g);
    g->arena = arena_new();
    g->leaves = leaves;
    g->region = REGION_MICRO;
    g->layer = -1;
    g->path = "";
    return g;
}

void graph_free(struct graph *g)
{
    if (!g) return;
    arena_free(g->arena);
    free(g->node);
    free(g->probe);
    free(g->loss);
    free(g);
}

struct node *graph_fail(struct graph *g, const char *format, ...)
{
    if (g->failed) return NULL;
    g->failed = true;
    va_list list;
    va_start(list, format);
    vsnprintf(g->err.text, sizeof g->err.text, format, list);
    va_end(list);
    return NULL;
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
    INVARIANT(n->n_out > 0 && n->n_out < NODE_OUTS, "%s: outputs are declared after the value, at most %d", n->op->name, NODE_OUTS);
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

int node_need(struct node *n, int input, int rank, struct err *e)
{
    char text[64];
    if (n->in[input]->shape.rank == rank) return 0;
    return err_set(e, "input %d has shape %s, rank %d is needed", input, shape_text(n->in[input]->shape, text), rank);
}

/* A gradient reaches a node when one of its inputs has one and the op passes it on. */
static bool passes_gradient(const struct node *n)
{
    if (n->region != REGION_MICRO) return false;
    if (n->op == &op_leaf) return n->leaf->kind == LEAF_WEIGHT;
    if (n->op == &op_detach || (n->op->kind == OP_COMPUTE && !n->op->gradient)) return false;
    if (n->dtype == DTYPE_I32 || n->dtype == DTYPE_U8) return false;
    if (n->op == &op_result && n->in[0]->op->no_grad_out >> n->output & 1) return false;
    for (int i = 0; i < n->n_in; i++) if (n->in[i]->grad && !(n->op->no_grad >> i & 1)) return true;
    return false;
}

static struct node *append(struct graph *g, const struct op *op, const void *attr, size_t attr_size, int n, struct node *const *inputs)
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

struct node *graph_emit_n(struct graph *g, const struct op *op, const void *attr, size_t attr_size, int n, struct node *const *inputs)
{
    if (g->failed) return NULL;
    /* Optional inputs come last and may be NULL; the node has only those that are there. */
    while (n > 0 && !inputs[n - 1]) n--;
    for (int i = 0; i < n; i++) if (!inputs[i]) return graph_fail(g, "%s: %s: input %d is missing", g->path, op->name, i);
    struct node *node = append(g, op, attr, attr_size, n, inputs);
    struct err e;
    if (op->infer(node, &e) != 0) return graph_fail(g, "%s: %s: %s", g->path, op->name, e.text);
    return publish(g, node);
}

struct node *graph_leaf(struct graph *g, struct leaf *leaf)
{
    if (g->failed) return NULL;
    for (int i = 0; i < g->n; i++)
        if (g->node[i]->op == &op_leaf && g->node[i]->leaf == leaf && g->node[i]->region == g->region) return g->node[i];
    struct node *node = append(g, &op_leaf, NULL, 0, 0, NULL);
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
        if (g->leaves->frozen && (kind == LEAF_WEIGHT)) { graph_fail(g, "%s: the model has no such weight", path); return NULL; }
        return leaves_add(g->leaves, path, kind, decl);
    }
    if (leaf->kind != kind || leaf->decl.dtype != decl.dtype || !shape_equal(leaf->decl.shape, decl.shape)) {
        graph_fail(g, "%s: is used with shape %s and with %s", path, shape_text(leaf->decl.shape, old), shape_text(decl.shape, now));
        return NULL;
    }
    return leaf;
}

struct node *graph_input(struct graph *g, const char *name, enum dtype dtype, struct shape shape)
{
    if (g->failed) return NULL;
    bool made;
    struct leaf *leaf = demand_leaf(g, name, LEAF_INPUT, (struct decl){ shape, dtype }, &made);
    return leaf ? graph_leaf(g, leaf) : NULL;
}

struct node *graph_weight(struct graph *g, const char *path, enum role role, struct shape shape, struct init init)
{
    if (g->failed) return NULL;
    bool made;
    struct leaf *leaf = demand_leaf(g, path, LEAF_WEIGHT, (struct decl){ shape, DTYPE_REAL }, &made);
    if (!leaf) return NULL;
    if (made) {
        leaf->role = role;
        leaf->init = init;
        for (int i = 0; i + 2 < shape.rank; i++) leaf->stack *= (int)shape.dim[i];
    }
    return graph_leaf(g, leaf);
}

struct node *graph_buffer(struct graph *g, const char *path, enum dtype dtype, struct shape shape, double value)
{
    if (g->failed) return NULL;
    bool made;
    struct leaf *leaf = demand_leaf(g, path, LEAF_BUFFER, (struct decl){ shape, dtype }, &made);
    if (!leaf) return NULL;
    if (made) leaf->init = (struct init){ .kind = INIT_CONSTANT, .value = value };
    return graph_leaf(g, leaf);
}

struct node *graph_control(struct graph *g, const char *name, struct control control)
{
    if (g->failed) return NULL;
    bool made;
    struct leaf *leaf = demand_leaf(g, name, LEAF_CONTROL, (struct decl){ SHAPE(1), DTYPE_REAL }, &made);
    if (!leaf) return NULL;
    if (made) {
        leaf->control = control;
        if (control.conf_size) leaf->control.conf = arena_copy(g->leaves->arena, control.conf, control.conf_size);
    }
    return graph_leaf(g, leaf);
}

struct node *graph_grad_of(struct graph *g, struct leaf *weight)
{
    if (g->failed) return NULL;
    INVARIANT(weight->kind == LEAF_WEIGHT, "%s has no gradient: it is no weight", weight->path);
    char path[512];
    snprintf(path, sizeof path, "grad.%s", weight->path);
    bool made;
    struct leaf *leaf = demand_leaf(g, path, LEAF_GRAD, (struct decl){ weight->decl.shape, DTYPE_REAL }, &made);
    if (!leaf) return NULL;
    leaf->of = weight;
    leaf->transient = true;
    return graph_leaf(g, leaf);
}

struct node *graph_result(struct graph *g, struct node *n, int output)
{
    if (g->failed || !n) return NULL;
    INVARIANT(output < n->n_out, "%s has no output %d", n->op->name, output);
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
    if (g->failed || !x) return NULL;
    if (shape_count(shape) != shape_count(x->shape)) {
        char from[64], to[64];
        return graph_fail(g, "%s: view: %s has another count than %s", g->path, shape_text(x->shape, from), shape_text(shape, to));
    }
    struct node *node = append(g, &op_view, NULL, 0, 1, &x);
    node_value(node, x->dtype, shape);
    return publish(g, node);
}

struct node *detach(struct graph *g, struct node *x)
{
    if (g->failed || !x) return NULL;
    struct node *node = append(g, &op_detach, NULL, 0, 1, &x);
    node_value(node, x->dtype, x->shape);
    return publish(g, node);
}

void graph_loss(struct graph *g, const char *name, struct node *value, double weight, bool of_step)
{
    if (g->failed || !value) return;
    INVARIANT(value->dtype == DTYPE_REAL && shape_count(value->shape) == 1, "loss %s is no REAL [1]", name);
    if (g->n_losses == g->loss_room) {
        g->loss_room = g->loss_room ? 2 * g->loss_room : 16;
        g->loss = xrealloc(g->loss, (size_t)g->loss_room * sizeof *g->loss);
    }
    g->loss[g->n_losses++] = (struct loss){ arena_text(g->arena, "%s", name), value, weight, of_step };
}

void graph_probe(struct graph *g, const char *name, const char *unit, enum better better, const char *about, int n, const struct term *term)
{
    if (g->failed) return;
    if (g->n_probes == g->probe_room) {
        g->probe_room = g->probe_room ? 2 * g->probe_room : 64;
        g->probe = xrealloc(g->probe, (size_t)g->probe_room * sizeof *g->probe);
    }
    g->probe[g->n_probes++] = (struct probe){ arena_text(g->arena, "%s", name), arena_text(g->arena, "%s", unit), arena_text(g->arena, "%s", about), better, g->layer,
                                              n, arena_copy(g->arena, term, (size_t)n * sizeof *term) };
}

const struct op op_leaf = { .name = "leaf", .index = -1, .kind = OP_LEAF };
const struct op op_result = { .name = "result", .index = -1, .kind = OP_ALIAS };
const struct op op_view = { .name = "view", .index = -1, .kind = OP_ALIAS };
const struct op op_detach = { .name = "detach", .index = -1, .kind = OP_ALIAS };
