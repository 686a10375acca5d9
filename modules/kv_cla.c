/* Cross-layer attention: of every `share` layers the first makes keys and values, with its own window; the others have
   none of their own and read them. Caches shrink by as much. Brandon 2024 (arXiv 2405.12981). Blocks of multi-token
   prediction, whose rows are others, make their own. */
#include "model/module.h"

struct conf { int share; };
static const struct param params[] = {
    INT(struct conf, share, 2, 1, 1024, "layer", "layers that read the same keys and values; 1: each its own"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    int share = ((const struct conf *)self.conf)->share;
    for (int i = 0; i < model_passes(model); i++)
        kv_check(self, model, i, i - i % share, path, "share", problems);
}

static struct kv build(struct build *b, struct pick self, struct node *u, struct projector project)
{
    int share = ((const struct conf *)self.conf)->share;
    return build_kv_of(b, b->layer < b->layers ? b->layer - b->layer % share : b->layer, u, project);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->others_keys = t->of_others = true; }

const struct module kv_cla = {
    .slot = SLOT_KV, .name = "cla", .about = "groups of layers share keys and values",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .kv = build,
};
