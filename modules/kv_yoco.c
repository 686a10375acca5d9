/* You only cache once: of the last `cross` layers the first makes keys and values, of what runs into it by a norm of
   their own, and all of them read these. Layers below have their own, as a rule of a window. Sun 2024 (arXiv
   2405.05254). Reading a prompt ends with these keys and values, and caches are those of the lower layers and one more.
   Blocks of multi-token prediction, whose rows are others, make their own. */
#include "model/module.h"

struct conf { int cross; };
static const struct param params[] = {
    INT(struct conf, cross, -1, -1, 1024, "layer", "last layers that read the same keys and values; -1: half of all"),
    { 0 }
};

/* The layer that `layer` reads of `layers`. */
static int source_of(const struct conf *c, int layers, int layer)
{
    int first = layers - (c->cross < 0 ? (layers + 1) / 2 : c->cross);
    return layer >= first && layer < layers ? first : layer;
}

static bool makes(const struct conf *c, int layers, int layer)
{
    return c->cross && layer < layers && layer == source_of(c, layers, layers - 1);
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    int layers = model_passes(model);
    if (c->cross > layers) {
        module_problem(problems, path, "cross", "%d: the model has only %d layers", c->cross, layers);
        return;
    }
    for (int i = 0; i < layers; i++) {
        int like = model_layer(model, i), source = source_of(c, layers, i),
            streams = module_traits(model->residual.pick[like]).streams;
        kv_check(self, model, i, source, path, "cross", problems);
        if (module_part(model->attention.pick[like], SLOT_KV).conf == self.conf && makes(c, layers, i) && streams)
            module_problem(problems, path, "cross",
                           "layer %d keeps %d residual streams: the norm of its keys reads one", i, streams);
    }
}

static struct kv build(struct build *b, struct pick self, struct node *u, struct projector project)
{
    const struct conf *c = self.conf;
    int source = source_of(c, b->layers, b->layer);
    if (makes(c, b->layers, b->layer)) u = build_norm(b, "norm_kv", build_kept(b, b->layer, "layer.input"));
    return build_kv_of(b, source, u, project);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->others_keys = t->of_others = true; }

const struct module kv_yoco = {
    .slot = SLOT_KV, .name = "yoco", .about = "the upper layers read one layer's keys and values",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .kv = build,
};
