/* One scale for a tensor, by what is largest in it now; a stack of experts, and their rows, are one tensor each. */
#include "model/module.h"

struct conf { struct fp8 fp8; };
static const struct param params[] = {
    FP8(struct conf, fp8),
    { 0 }
};

static struct node *product(struct build *b, struct pick self, struct node *x, struct node *w, struct node *offsets)
{
    const struct conf *c = self.conf;
    return build_fp8(b, &c->fp8, FP8_TENSOR, 0, x, w, offsets);
}

const struct module fp8_tensor = {
    .slot = SLOT_FP8, .name = "tensor", .about = "a scale for each tensor, by its largest value now",
    .conf_size = sizeof(struct conf), .params = params, .check = build_fp8_check, .product = product,
};
