/* No averages: evaluation and sampling read the weights. */
#include "model/module.h"

const struct module average_none = { .slot = SLOT_AVERAGE, .name = "none", .about = "no averages" };
