/* Weights go where their updates lead. */
#include "model/module.h"

const struct module constraint_none = { .slot = SLOT_CONSTRAINT, .name = "none", .about = "no constraint" };
