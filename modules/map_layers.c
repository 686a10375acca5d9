/* Other layers: layer i is a copy of the other model's layer of[i]. identity: of a layer that stands there for the
   second time the branches write nothing at first, so that where they are added to the stream the function is that of
   the layers named once, in their order (LLaMA Pro, Wu 2024). Settings that differ by layer, as windows do, are those
   of this model; sl.deepen carries the other's along. */
#include "model/module.h"

struct conf { struct ints of; int identity; };
static const struct param params[] = {
    INTS(struct conf, of, 0, 4095, "the other model's layer that each of this model's is a copy of, from 0"),
    BOOL(struct conf, identity, false, "what repeats a layer adds nothing to the stream at first"),
    { 0 }
};

static struct ints layers(struct arena *a, struct pick self, int n)
{
    (void)a; (void)n;
    return ((const struct conf *)self.conf)->of;
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    return mapping_layer(m, l, ((const struct conf *)self.conf)->identity);
}

const struct module map_layers = {
    .slot = SLOT_MAP, .name = "layers", .about = "layers are copies of others, by a list",
    .conf_size = sizeof(struct conf), .params = params, .map = map, .layers = layers,
};
