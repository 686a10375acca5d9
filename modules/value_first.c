/* The first layer's values in all layers: SVFormer (Zhou 2024, arXiv 2410.17897). A layer makes queries and keys alone,
   and of caches all but the first are of keys: half as large. Blocks of multi-token prediction, whose rows are others,
   make their own. */
#include "model/module.h"

static int source_of(const struct model_conf *model)        /* the first layer that has values */
{
    int source = 0;
    while (module_part(model->attention.pick[source], SLOT_VALUE).module == NULL) source++;
    return source;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int source = source_of(model);
    struct traits s = module_traits(model->attention.pick[source]);
    struct mask kept = kv_kept(s);
    char here[48], there[48];
    for (int i = source + 1; i < model->layers; i++) {
        struct pick reader = model->attention.pick[i];
        struct traits r = module_traits(reader);
        struct mask own = kv_kept(r);
        if (module_part(reader, SLOT_VALUE).module != self.module) continue;
        if (r.kv_heads != s.kv_heads || r.v_dim != s.v_dim)
            module_problem(problems, path, "value", "layer %d has %d values of %d, layer %d, the first, %d of %d", i,
                           r.kv_heads, r.v_dim, source, s.kv_heads, s.v_dim);
        else if (own.window != kept.window || own.chunk != kept.chunk)
            module_problem(problems, path, "value", "layer %d keeps %s of the past, layer %d, the first, %s: caches of "
                           "keys and values keep the same", i, kv_words(own, here), source, kv_words(kept, there));
        else continue;
        return;
    }
}

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *v)
{
    (void)b; (void)self; (void)u;
    return v;
}

static void traits(struct pick self, struct traits *t) { (void)self; t->first_values = t->of_others = true; }

const struct module value_first = {
    .slot = SLOT_VALUE, .name = "first", .about = "the first layer's in all layers",
    .check = check, .traits = traits, .value = build,
};
