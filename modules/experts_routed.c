/* Mixture of attention heads: an expert is a projection to queries and one of what its heads read; keys and values are
   shared, so that caches do not grow with experts.
       y = sum over the K chosen experts of gate_i * O_i(heads(Q_i u)) + b
   A token has the query heads of all its experts side by side, K times as many as one has; each choice, best first, has
   sinks and gates of heads of its own. Zhang 2022 (MoA, arXiv 2210.05144); Shen 2023 (ModuleFormer); Shen 2024 (JetMoE:
   8 experts, 2 for each token). */
#include "model/module.h"

struct conf { int n; struct pick router; struct picks balance; struct pick dispatch; };
static const struct param params[] = {
    INT(struct conf, n, 8, 1, 4096, "", "experts"),
    SLOT(struct conf, router, SLOT_ROUTER, "staged", "who goes where"),
    SLOTS(struct conf, balance, SLOT_BALANCE, "what keeps the load even"),
    SLOT(struct conf, dispatch, SLOT_DISPATCH, "dropless", "how tokens reach their experts"),
    { 0 }
};

static struct experts experts_of(const struct conf *c)
{
    return (struct experts){ c->n, 0, c->router, c->balance, c->dispatch };
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    struct experts e = experts_of(c);
    experts_check(&e, path, problems);
    if (module_traits(c->router).adds)
        module_problem(problems, path, "router.revise",
                       "adds experts to tokens in training, and each choice has heads of its own in evaluation too");
}

/* x as `from` rows of k parts each: part j of every row, as `to` rows, side by side with the others. */
static struct node *exchanged(struct build *b, struct node *x, int64_t k, int64_t from, int64_t to)
{
    struct graph *g = b->graph;
    int64_t width = shape_count(x->shape) / from / k;
    struct node **part = arena_alloc(b->arena, (size_t)k * sizeof(struct node *));
    if (k == 1 || from == to) return view(g, x, SHAPE(to, shape_count(x->shape) / to));
    x = view(g, x, SHAPE(from, k * width));
    for (int64_t j = 0; j < k; j++) part[j] = view(g, columns(g, x, j * width, width), SHAPE(to, from * width / to));
    return concat(g, (int)k, part);
}

static struct queries queries(struct build *b, struct pick self, struct node *u, struct heads h)
{
    struct graph *g = b->graph;
    struct experts e = experts_of(self.conf);
    b->metric_prefix = "attention_";
    struct queries q = { .heads = h, .r = build_routing(b, &e, u) };
    q.d = build_dispatch(b, &e, u, &q.r);
    b->metric_prefix = "";
    q.k = shape_last(q.r.index->shape);
    build_enter(b, "experts");
    struct node *rows = expert_affine(b, h.bias, "q", ROLE_Q, &q.r, &q.d, q.d.rows, h.n * h.width);
    build_heads(b, "q", h.n);
    build_leave(b);
    struct node *pairs = gather(g, rows, view(g, q.d.inverse, SHAPE(b->tokens * q.k)),
                                view(g, q.d.order, SHAPE(rows->shape.dim[0], 1)));              /* [T K,H W] */
    q.q = exchanged(b, pairs, q.k, b->tokens, b->tokens * h.kv_heads);                          /* [T G,K H/G W] */
    return q;
}

static struct node *output(struct build *b, struct pick self, const struct queries *q, struct node *heads)
{
    (void)self;
    struct graph *g = b->graph;
    int64_t pairs = b->tokens * q->k, width = q->heads.n * q->heads.width;
    heads = exchanged(b, heads, q->k, b->tokens * q->heads.kv_heads, b->tokens);                /* [T,K H W] */
    struct node *rows = gather(g, view(g, heads, SHAPE(pairs, width)), q->d.order,
                               view(g, q->d.inverse, SHAPE(pairs, 1)));                         /* [R,H W] */
    build_enter(b, "experts");
    struct node *gates = expert_gates(b, &q->r, &q->d);
    if (gates) rows = build_gated(b, rows, gates);
    rows = expert_affine(b, false, "out", ROLE_OUT, &q->r, &q->d, rows, b->width);              /* [R,D] */
    build_leave(b);
    struct node *y = build_combined(b, &q->r, &q->d, rows);
    return q->heads.output_bias ? add_row(g, y, build_bias(b, "out", SHAPE(b->width))) : y;
}

const struct module experts_routed = {
    .slot = SLOT_EXPERTS, .name = "routed", .about = "mixture of attention heads; keys and values are shared (MoA)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .queries = queries, .output = output,
};
