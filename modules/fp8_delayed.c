/* One scale for a tensor, by what was largest in it in the last steps that counted, so that nothing waits for it to be
   found; what is larger now becomes that. The first step goes by itself. TransformerEngine; its hybrid format has
   gradient = "e5m2". */
#include "model/module.h"

struct conf { struct fp8 fp8; int history; };
static const struct param params[] = {
    FP8(struct conf, fp8),
    INT(struct conf, history, 16, 1, 1024, "step", "how many steps before"),
    { 0 }
};

static struct node *product(struct build *b, struct pick self, struct node *x, struct node *w, struct node *offsets)
{
    const struct conf *c = self.conf;
    return build_fp8(b, &c->fp8, FP8_DELAYED, c->history, x, w, offsets);
}

const struct module fp8_delayed = {
    .slot = SLOT_FP8, .name = "delayed", .about = "a scale for each tensor, by its past (TransformerEngine)",
    .conf_size = sizeof(struct conf), .params = params, .check = build_fp8_check, .product = product,
};
