/* n shared experts that every token uses, as one feed-forward of n times an expert's width. Dai 2024 (DeepSeekMoE). */
#include "model/module.h"

struct conf { int n; };
static const struct param params[] = {
    INT(struct conf, n, 1, 1, 64, "", "shared experts"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *u, struct hidden expert,
                          struct node *routed)
{
    build_enter(b, "shared");
    struct node *y = feed_forward(b, expert.activation, u, ((const struct conf *)self.conf)->n * expert.width);
    build_leave(b);
    return add(b->graph, routed, y);
}

const struct module shared_dense = {
    .slot = SLOT_SHARED, .name = "dense", .about = "experts that every token uses",
    .conf_size = sizeof(struct conf), .params = params, .shared = build,
};
