/* Routed experts alone. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *u, const struct routing *r,
                          struct hidden expert, struct node *routed)
{
    (void)b; (void)self; (void)u; (void)r; (void)expert;
    return routed;
}

const struct module shared_none = { .slot = SLOT_SHARED, .name = "none", .about = "no shared expert", .shared = build };
