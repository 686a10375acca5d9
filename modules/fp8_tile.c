/* Scales of 128 values along the sum, of weights of 128 x 128, by what is largest now: an outlier in one token leaves
   the digits of others alone. DeepSeek-V3 (arXiv 2412.19437, 3.3), with "e4m3" for gradients too. */
#include "model/module.h"

struct conf { struct fp8 fp8; };
static const struct param params[] = {
    FP8(struct conf, fp8),
    { 0 }
};

static struct node *product(struct build *b, struct pick self, struct node *x, struct node *w, struct node *offsets)
{
    const struct conf *c = self.conf;
    return build_fp8(b, &c->fp8, FP8_TILE, 0, x, w, offsets);
}

const struct module fp8_tile = {
    .slot = SLOT_FP8, .name = "tile", .about = "a scale for each 128 values (DeepSeek-V3)",
    .conf_size = sizeof(struct conf), .params = params, .check = build_fp8_check, .product = product,
};
