/* All keys that the mask leaves. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, const struct attending *a)
{
    (void)self;
    return attention(b->graph, a->attention);
}

const struct module keys_all = {
    .slot = SLOT_KEYS, .name = "all", .about = "all that the mask leaves", .keys = build,
};
