/* AdamW with decoupled decay: w -= lr (m^ / (sqrt v^ + eps) + decay w). Loshchilov 2017. Gains, embeddings and tables
   do not decay. */
#include "module.h"

struct conf { double lr, beta1, beta2, eps, decay; };
static const struct param params[] = {
    REAL(struct conf, lr, 1e-3, 0, 10, "", "peak learning rate"),
    REAL(struct conf, beta1, 0.9, 0, 0.9999, "", "decay of the first moment"),
    REAL(struct conf, beta2, 0.95, 0, 0.99999, "", "decay of the second moment"),
    REAL(struct conf, eps, 1e-8, 1e-16, 1, "", "added to the root"),
    REAL(struct conf, decay, 0.1, 0, 10, "", "weight decay"),
    { 0 }
};

static struct node *moment(struct graph *g, struct arena *arena, const char *which, const struct leaf *w)
{
    return graph_buffer(g, arena_text(arena, "optim.%s.%s", which, w->path), DTYPE_REAL, w->decl.shape, 0);
}

static void build(struct build *b, const void *conf, struct node *step, struct node *clip)
{
    const struct conf *c = conf;
    struct graph *g = b->graph;
    struct node *lr = build_rate(b, c->lr);
    int n = 0, leaves = g->leaves->n;                       /* the moments are leaves too */
    struct node **changes = arena_alloc(b->arena, (size_t)leaves * sizeof *changes);
    for (int i = 0; i < leaves; i++) {
        struct leaf *w = g->leaves->leaf[i];
        if (w->kind != LEAF_WEIGHT) continue;
        struct adamw_attr attr = { c->beta1, c->beta2, c->eps, w->decay ? c->decay : 0, 1 };
        struct node *m = moment(g, b->arena, "m", w), *v = moment(g, b->arena, "v", w);
        changes[n++] = adamw(g, graph_leaf(g, w), graph_grad_of(g, w), m, v, lr, step, clip, attr);
    }
    build_metric(b, "update_ratio", update_ratio(g, n, changes), "", "norm of the step's change over norm of the weights");
}

const struct module optim_adamw = {
    .slot = SLOT_OPTIM, .name = "adamw", .about = "Adam with decoupled weight decay",
    .conf_size = sizeof(struct conf), .params = params, .optim = build,
};
