/* No gate: head outputs pass through. */
#include "model/module.h"

static struct node *build(struct build *b, const void *conf, struct node *u, struct node *heads)
{
    (void)b; (void)conf; (void)u;
    return heads;
}

const struct module gate_none = { .slot = SLOT_GATE, .name = "none", .about = "no gate", .gate = build };
