/* No averages: evaluation and sampling read the weights. */
#include "model/module.h"

static struct node *rate(struct build *b, struct pick self)
{
    (void)b; (void)self;
    return NULL;
}

const struct module average_none = { .slot = SLOT_AVERAGE, .name = "none", .about = "no averages", .average = rate };
