/* Every chosen pair is computed: token rows sorted by expert, segments of any length. Gale 2022 (MegaBlocks). */
#include "model/module.h"

static struct dispatched build(struct build *b, struct pick self, struct node *u, struct routing *r)
{
    (void)self;
    return build_dispatched(b, u, r);
}

const struct module dispatch_dropless = {
    .slot = SLOT_DISPATCH, .name = "dropless", .about = "every chosen pair is computed", .dispatch = build,
};
