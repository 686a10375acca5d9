/* All of the past, within the document. */
#include "model/module.h"

static struct mask build(struct build *b, struct pick self)
{
    (void)b; (void)self;
    return (struct mask){ 0 };
}

const struct module mask_causal = { .slot = SLOT_MASK, .name = "causal", .about = "all of the past", .mask = build };
