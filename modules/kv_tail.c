/* Reuse in the tail: the last `shared` layers have no keys and values of their own. Each reads those of the last layer
   below that sees as it does, all of the past or a part of it. Gemma 3n: 15 of 35. Caches are those of the layers
   below, and reading a prompt ends with them. Blocks of multi-token prediction make their own. */
#include "model/module.h"

struct conf { int shared; };
static const struct param params[] = {
    INT(struct conf, shared, -1, -1, 1024, "layer", "last layers that read earlier ones' keys; -1: half of all"),
    { 0 }
};

static struct pick attention_of(const struct model_conf *model, int layer)
{
    return model->attention.pick[model_layer(model, layer)];
}

static bool is_local(const struct model_conf *model, int layer)
{
    struct traits t = module_traits(attention_of(model, layer));
    return t.window || t.chunk;
}

/* The layer that `layer` reads; -1: there is none of its kind. */
static int source_of(struct pick self, const struct model_conf *model, int layer)
{
    int shared = ((const struct conf *)self.conf)->shared, layers = model_passes(model),
        first = layers - (shared < 0 ? layers / 2 : shared);
    if (layer < first || layer >= layers) return layer;
    for (int i = first - 1; i >= 0; i--)
        if (module_part(attention_of(model, i), SLOT_KV).module == self.module &&
            is_local(model, i) == is_local(model, layer))
            return i;
    return -1;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    for (int i = 0; i < model_passes(model); i++) {
        int source = source_of(self, model, i);
        if (module_part(attention_of(model, i), SLOT_KV).conf != self.conf) continue;
        if (source < 0)
            module_problem(problems, path, "shared",
                           "layer %d has no keys of its own, and no layer below the last ones, with kv = %s, sees %s",
                           i, self.module->name, is_local(model, i) ? "a part of the past" : "all of the past");
        else kv_check(self, model, i, source, path, "shared", problems);
    }
}

static struct kv build(struct build *b, struct pick self, struct node *u, struct projector project)
{
    return build_kv_of(b, source_of(self, b->conf, b->layer), u, project);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->others_keys = t->of_others = true; }

const struct module kv_tail = {
    .slot = SLOT_KV, .name = "tail", .about = "the last layers read earlier ones' keys and values (Gemma 3n)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .kv = build,
};
