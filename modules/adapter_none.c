/* All weights are trained. */
#include "model/module.h"

const struct module adapter_none = { .slot = SLOT_ADAPTER, .name = "none", .about = "none: all weights are trained" };
