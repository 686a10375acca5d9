/* Next token only. */
#include "module.h"

static void build(struct build *b, const void *conf, struct node *h, struct node *head_weight) { (void)b; (void)conf; (void)h; (void)head_weight; }
static int blocks(const void *conf) { (void)conf; return 0; }

const struct module mtp_none = { .slot = SLOT_MTP, .name = "none", .about = "next token only", .mtp = build, .mtp_blocks = blocks };
