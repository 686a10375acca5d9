/* Next token only. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct node *h, struct node *head_weight)
{
    (void)b; (void)self; (void)h; (void)head_weight;
}

const struct module mtp_none = { .slot = SLOT_MTP, .name = "none", .about = "next token only", .mtp = build };
