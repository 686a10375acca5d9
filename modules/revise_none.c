/* The choice stands. */
#include "model/module.h"

const struct module revise_none = { .slot = SLOT_REVISE, .name = "none", .about = "the choice stands" };
