/* No noise: the router chooses by what it knows. */
#include "model/module.h"

const struct module noise_none = { .slot = SLOT_NOISE, .name = "none", .about = "no noise" };
