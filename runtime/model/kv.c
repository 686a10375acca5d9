/* Which layer's keys and values a layer can read. */
#include "registry.h"

static bool is_other(struct traits a, struct traits b)
{
    if (a.latent || b.latent) return a.latent != b.latent || a.rotated != b.rotated;
    return a.kv_heads != b.kv_heads || a.qk_dim != b.qk_dim || a.v_dim != b.v_dim || a.heads % b.kv_heads;
}

void kv_check(struct pick self, const struct model_conf *model, int reader, int source, const char *path,
              const char *key, struct problems *problems)
{
    struct pick reads = model->attention.pick[model_layer(model, reader)],
                makes = model->attention.pick[model_layer(model, source)];
    struct traits r = module_traits(reads), s = module_traits(makes);
    if (module_part(reads, SLOT_KV).conf != self.conf || reader == source) return;
    if (module_part(makes, SLOT_KV).module != self.module)
        module_problem(problems, path, key, "layer %d reads layer %d, whose kv is not %s", reader, source,
                       self.module->name);
    else if (is_other(r, s))
        module_problem(problems, path, key, "layer %d reads keys of layer %d, which have other heads", reader, source);
    else if (s.window && (r.window == 0 || r.window > s.window))
        module_problem(problems, path, key, "layer %d looks further back than layer %d keeps: %d positions", reader,
                       source, s.window);
}
