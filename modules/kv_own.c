/* A layer's keys and values come from its own input. */
#include "model/module.h"

static struct kv build(struct build *b, struct pick self, struct node *u, struct projector project)
{
    (void)self;
    return project.build(b, project.context, u);
}

const struct module kv_own = { .slot = SLOT_KV, .name = "own", .about = "from the layer's own input", .kv = build };
