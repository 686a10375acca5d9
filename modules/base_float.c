/* Frozen weights are floats, as trained ones. */
#include "model/module.h"

static enum kept_as kept(struct pick self) { (void)self; return KEPT_FLOAT; }

const struct module base_float = { .slot = SLOT_BASE, .name = "float", .about = "as floats", .base = kept };
