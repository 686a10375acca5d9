/* Routed experts alone. */
#include "model/module.h"

static struct node *build(struct build *b, struct pick self, struct node *u, struct hidden expert,
                          struct node *routed)
{
    (void)b; (void)self; (void)u; (void)expert;
    return routed;
}

const struct module shared_none = { .slot = SLOT_SHARED, .name = "none", .about = "no shared expert", .shared = build };
