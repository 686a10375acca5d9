/* All of the past, within the document. */
#include "model/module.h"

static int64_t window(struct build *b, const void *conf)
{
    (void)b; (void)conf;
    return 0;
}

const struct module mask_causal = { .slot = SLOT_MASK, .name = "causal", .about = "all of the past", .mask = window };
