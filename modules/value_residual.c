/* Value residual: v_l = a_l v_l + b_l v_0, v_0 the values that the first layer made of the same token; a and b learned.
   Zhou 2024 (ResFormer, arXiv 2410.17897). What is cached is the mixture. */
#include "model/module.h"

struct conf { double own, first; };
static const struct param params[] = {
    REAL(struct conf, own, 0.5, 0, 2, "", "initial factor on the layer's own values"),
    REAL(struct conf, first, 0.5, 0, 2, "", "initial factor on the first layer's"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
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

static struct node *factor(struct build *b, const char *name, double first)
{
    return build_weight(b, name, ROLE_SCALAR, SHAPE(1), init_constant(first));
}

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *v)
{
    (void)u;
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *first = build_kept(b, -1, "value.first");  /* [T,G,W] */
    if (!first) {
        build_keep(b, -1, "value.first", v);
        first = v;
    }
    return add(g, mul_scalar(g, v, factor(b, "value.own", c->own)),
               mul_scalar(g, build_rows(b, first), factor(b, "value.first", c->first)));
}

const struct module value_residual = {
    .slot = SLOT_VALUE, .name = "residual", .about = "the first layer's values beside the layer's own",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .value = build,
};
