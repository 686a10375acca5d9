/* Products are those of the run's precision. */
#include "model/module.h"

const struct module fp8_none = { .slot = SLOT_FP8, .name = "none", .about = "no product in FP8" };
