/* KV-Mirror (WeLM): a deep layer projects its keys and values, with its own weights, from the normalised input of its
   mirrored shallow layer. The edge is the whole feature; the gradient reaches the shallow layer from both readers.
   Without pairs the last third mirrors the first, deepest to shallowest; a multi-token-prediction block counts as the
   deepest layer. No cache is saved: every layer keeps its own keys and values. */
#include "model/module.h"

struct conf { struct ints pairs; };
static const struct param params[] = {
    INTS(struct conf, pairs, 0, 4095,
         "layers from 0: reader, source, reader, source, ...; empty: last third reads first third"),
    { 0 }
};

/* The layer that `layer` reads from, or -1. The deepest layer of a U is the first MTP block when there is one. */
static int source_of(const struct conf *c, int layers, bool mtp, int layer)
{
    for (int i = 0; i + 1 < c->pairs.n; i += 2) if (c->pairs.value[i] == layer) return c->pairs.value[i + 1];
    if (c->pairs.n) return -1;
    int deepest = mtp ? layers : layers - 1, source = deepest - layer;
    return source >= 0 && source < (deepest + 1) / 3 ? source : -1;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    const int *pair = c->pairs.value;
    int layers = model_passes(model), blocks = model_blocks(model);
    if (c->pairs.n % 2)
        module_problem(problems, path, "pairs", "%d numbers: must be pairs of reader and source", c->pairs.n);
    if (!c->pairs.n && layers + (blocks > layers) < 3)
        module_problem(problems, path, "pairs", "%d layers have no thirds to mirror: give the pairs", blocks);
    for (int i = 0; i + 1 < c->pairs.n; i += 2) {
        if (pair[i] >= blocks) module_problem(problems, path, "pairs", "%d: the last layer is %d", pair[i], blocks - 1);
        if (pair[i + 1] >= pair[i])
            module_problem(problems, path, "pairs", "%d, %d: the source must be a shallower layer", pair[i],
                           pair[i + 1]);
        for (int k = 0; k + 1 < c->pairs.n; k += 2) {
            if (k < i && pair[k] == pair[i]) module_problem(problems, path, "pairs", "layer %d reads twice", pair[i]);
            if (pair[k + 1] == pair[i])
                module_problem(problems, path, "pairs", "layer %d reads and is a source", pair[i]);
        }
    }
}

static struct kv build(struct build *b, struct pick self, struct node *u, struct projector project)
{
    int source = source_of(self.conf, b->layers, b->blocks > b->layers, b->layer);
    return project.build(b, project.context, source < 0 ? u : build_rows(b, build_kept(b, source, "attention.input")));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->of_others = true; }

const struct module kv_mirror = {
    .slot = SLOT_KV, .name = "mirror", .about = "deep layers read shallow layers' inputs (WeLM)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .kv = build,
};
