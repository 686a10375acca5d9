/* Cross-layer attention: of every `share` layers the first makes keys and values, with its own window; the others have
   none of their own and read them. Caches shrink by as much. Brandon 2024 (arXiv 2405.12981). Blocks of multi-token
   prediction, whose rows are others, make their own. */
#include "model/module.h"

struct conf { int share; };
static const struct param params[] = {
    INT(struct conf, share, 2, 2, 1024, "layer", "layers that read the same keys and values"),
    { 0 }
};

static bool is_other(struct traits a, struct traits b)
{
    if (a.latent || b.latent) return a.latent != b.latent || a.rotated != b.rotated;
    return a.kv_heads != b.kv_heads || a.qk_dim != b.qk_dim || a.v_dim != b.v_dim || a.heads % b.kv_heads;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int share = ((const struct conf *)self.conf)->share;
    for (int i = 0; i < model_passes(model); i++) {
        struct pick reader = model->attention.pick[model_layer(model, i)],
                    source = model->attention.pick[model_layer(model, i - i % share)];
        struct traits r = module_traits(reader), s = module_traits(source);
        if (module_part(reader, SLOT_KV).conf != self.conf || i % share == 0) continue;
        if (module_part(source, SLOT_KV).module != self.module)
            module_problem(problems, path, "share", "layer %d reads layer %d, whose kv is not cla", i, i - i % share);
        else if (is_other(r, s))
            module_problem(problems, path, "share", "layer %d reads keys of layer %d, which have other heads", i,
                           i - i % share);
        else if (s.window && (r.window == 0 || r.window > s.window))
            module_problem(problems, path, "share", "layer %d looks further back than layer %d keeps: %d positions", i,
                           i - i % share, s.window);
    }
}

static struct kv build(struct build *b, struct pick self, struct node *u, struct projector project)
{
    int share = ((const struct conf *)self.conf)->share, source = b->layer - b->layer % share;
    if (b->layer < b->layers && b->layer != source)
        return (struct kv){ build_kept(b, source, "kv.k"), build_kept(b, source, "kv.v"),
                            build_kept(b, source, "kv.value") };
    struct kv kv = project.build(b, project.context, u);
    build_keep(b, b->layer, "kv.k", kv.k);
    build_keep(b, b->layer, "kv.v", kv.v);
    build_keep(b, b->layer, "kv.value", kv.value);
    return kv;
}

static void traits(struct pick self, struct traits *t) { (void)self; t->others_keys = true; }

const struct module kv_cla = {
    .slot = SLOT_KV, .name = "cla", .about = "groups of layers share keys and values",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .kv = build,
};
