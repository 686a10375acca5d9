/* Two copies of all layers overlap: the first lacks the last `removed` ones, the second the first. Of 32 layers and 8
   removed 0 .. 23 become the first 24 and 8 .. 31 the others (SOLAR, Kim 2023, arXiv 2312.15166). identity: as of map
   `layers`. */
#include "model/module.h"

struct conf { int removed, identity; };
static const struct param params[] = {
    INT(struct conf, removed, 1, 0, 4095, "", "layers that the first copy lacks at its end, the second at its start"),
    BOOL(struct conf, identity, false, "what repeats a layer adds nothing to the stream at first"),
    { 0 }
};

static struct ints layers(struct arena *a, struct pick self, int n)
{
    int removed = ((const struct conf *)self.conf)->removed, each = n > removed ? n - removed : 0;
    struct ints of = { 2 * each, arena_alloc(a, (size_t)(2 * each + 1) * sizeof(int)) };
    for (int i = 0; i < of.n; i++) of.value[i] = i < each ? i : i - each + removed;
    return of;
}

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    return mapping_layer(m, l, ((const struct conf *)self.conf)->identity);
}

const struct module map_overlap = {
    .slot = SLOT_MAP, .name = "overlap", .about = "two copies of all layers that overlap (SOLAR)",
    .conf_size = sizeof(struct conf), .params = params, .map = map, .layers = layers,
};
