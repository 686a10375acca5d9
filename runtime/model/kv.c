/* Which layer's keys and values a layer can read. */
#include "registry.h"

#include <stdio.h>

static bool is_other(struct traits a, struct traits b)
{
    if (a.latent || b.latent) return a.latent != b.latent || a.rotated != b.rotated;
    return a.kv_heads != b.kv_heads || a.qk_dim != b.qk_dim || a.v_dim != b.v_dim || a.heads % b.kv_heads;
}

struct mask kv_kept(struct traits attention)
{
    return attention.names ? (struct mask){ 0, 0 } : (struct mask){ attention.window, attention.chunk };
}

const char *kv_words(struct mask m, char out[48])
{
    if (m.window || m.chunk)
        snprintf(out, 48, m.window ? "a window of %lld" : "chunks of %lld", (long long)(m.window ? m.window : m.chunk));
    return m.window || m.chunk ? out : "all";
}

/* Chunks begin where shorter ones that divide them do. */
static bool holds(struct mask kept, struct mask seen)
{
    if (kept.window) return seen.window && seen.window <= kept.window;
    return !kept.chunk || (seen.chunk && kept.chunk % seen.chunk == 0);
}

void kv_check(struct pick self, const struct model_conf *model, int reader, int source, const char *path,
              const char *key, struct problems *problems)
{
    struct pick reads = model->attention.pick[model_layer(model, reader)],
                makes = model->attention.pick[model_layer(model, source)];
    struct traits r = module_traits(reads), s = module_traits(makes);
    char here[48], there[48];
    if (module_part(reads, SLOT_KV).conf != self.conf || reader == source) return;
    if (module_part(makes, SLOT_KV).module != self.module)
        module_problem(problems, path, key, "layer %d reads layer %d, whose kv is not %s", reader, source,
                       self.module->name);
    else if (is_other(r, s))
        module_problem(problems, path, key, "layer %d reads keys of layer %d, which have other heads", reader, source);
    else if (!holds(kv_kept(s), kv_kept(r)))
        module_problem(problems, path, key, "layer %d looks further back than layer %d keeps: %s where that has %s",
                       reader, source, kv_words(kv_kept(r), here), kv_words(kv_kept(s), there));
}
