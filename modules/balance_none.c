/* Nothing keeps the load even. */
#include "model/module.h"

static void build(struct build *b, const void *conf, const struct routing *r) { (void)b; (void)conf; (void)r; }

const struct module balance_none = { .slot = SLOT_BALANCE, .name = "none", .about = "no balancing", .balance = build };
