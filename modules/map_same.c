/* Each tensor from that of the same name and shape. */
#include "model/module.h"

static struct made map(struct mapping *m, struct pick self, const struct leaf *l)
{
    (void)self;
    return mapping_as(m, l, l->path, NULL);
}

const struct module map_same = {
    .slot = SLOT_MAP, .name = "same", .about = "each tensor from that of the same name", .map = map,
};
