/* Routed experts read and write vectors of the model's width. */
#include "model/module.h"

const struct module latent_none = { .slot = SLOT_LATENT, .name = "none", .about = "experts of the model's width" };
