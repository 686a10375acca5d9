/* Frozen weights in NF4, 4.127 bits each, from which every product makes values anew. QLoRA (Dettmers 2023, arXiv
   2305.14314). */
#include "model/module.h"

struct conf { int double_quant; };
static const struct param params[] = {
    BOOL(struct conf, double_quant, true, "sizes of blocks are bytes, not floats: 4.127 bits a value, not 4.5"),
    { 0 }
};

static enum kept_as kept(struct pick self)
{
    return ((const struct conf *)self.conf)->double_quant ? KEPT_NF4_DOUBLE : KEPT_NF4;
}

const struct module base_nf4 = {
    .slot = SLOT_BASE, .name = "nf4", .about = "in NF4, 4 bits with a size for each block (QLoRA)",
    .conf_size = sizeof(struct conf), .params = params, .base = kept,
};
