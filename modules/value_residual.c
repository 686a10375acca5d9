/* Value residual: v_l = a_l v_l + b_l v_0, v_0 the values that the first layer made of the same token; a and b learned.
   Zhou 2024 (ResFormer, arXiv 2410.17897). What is cached is the mixture. A sparse ResFormer has it in some layers. */
#include "model/module.h"

struct conf { double own, first; int learned, per_head; };
static const struct param params[] = {
    REAL(struct conf, own, 0.5, 0, 2, "", "initial factor on the layer's own values"),
    REAL(struct conf, first, 0.5, 0, 2, "", "initial factor on the first layer's"),
    BOOL(struct conf, learned, true, "both factors are learned"),
    BOOL(struct conf, per_head, false, "each value head has factors of its own"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    if (c->per_head && !c->learned)
        module_problem(problems, path, "per_head", "true: factors of all heads begin alike, say learned = true");
    int source = 0;                                         /* layers without values of their own are passed over */
    while (module_part(model->attention.pick[source], SLOT_VALUE).module == NULL) source++;
    struct traits first = module_traits(model->attention.pick[source]);
    for (int i = 0; i < model->layers; i++) {
        struct pick attention = model->attention.pick[i];
        struct traits t = module_traits(attention);
        if (module_part(attention, SLOT_VALUE).conf != self.conf) continue;
        if (t.kv_heads == first.kv_heads && t.v_dim == first.v_dim) continue;
        module_problem(problems, path, "first", "layer %d has %d values of %d, layer %d, the first, %d of %d", i,
                       t.kv_heads, t.v_dim, source, first.kv_heads, first.v_dim);
        return;
    }
}

/* x [T,G,W] times a number, or one of each head. */
static struct node *times(struct build *b, const struct conf *c, const char *name, double first, struct node *x)
{
    struct graph *g = b->graph;
    int64_t heads = c->per_head ? x->shape.dim[1] : 1, rest = shape_count(x->shape) / b->tokens / heads;
    if (!c->learned) return scale(g, x, first);
    struct node *factor = build_weight(b, name, ROLE_SCALAR, SHAPE(heads), init_constant(first));
    if (!c->per_head) return mul_scalar(g, x, factor);
    struct node *row = view(g, repeat(g, view(g, factor, SHAPE(heads, 1)), rest), SHAPE(heads * rest));
    return view(g, mul_row(g, view(g, x, SHAPE(b->tokens, heads * rest)), row), x->shape);
}

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *v)
{
    (void)u;
    const struct conf *c = self.conf;
    struct node *first = build_rows(b, build_kept_first(b, "attention.projected"));             /* [T,G,W] */
    return add(b->graph, times(b, c, "value.own", c->own, v), times(b, c, "value.first", c->first, first));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->of_others = true; }

const struct module value_residual = {
    .slot = SLOT_VALUE, .name = "residual", .about = "the first layer's values beside the layer's own",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .value = build,
};
