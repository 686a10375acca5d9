/* Nothing keeps the load even. */
#include "model/module.h"

static void build(struct build *b, struct pick self, const struct routing *r) { (void)b; (void)self; (void)r; }

const struct module balance_none = { .slot = SLOT_BALANCE, .name = "none", .about = "no balancing", .balance = build };
