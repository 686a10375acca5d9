/* One vector a token: scale * E[id]. */
#include "model/module.h"

struct conf { double scale; };
static const struct param params[] = {
    REAL(struct conf, scale, 1, 0.01, 1000, "", "factor on the vectors; Gemma: sqrt(d_model)"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, int ahead)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct shape shape = SHAPE(b->vocab, b->width);
    build_enter(b, "embed");
    struct node *table = build_weight(b, "weight", ROLE_EMBED, shape, build_init(b, ROLE_EMBED, shape));
    build_keep(b, -1, "embed.table", table);
    build_leave(b);
    struct node *x = embed(g, table, ahead ? shift(g, b->ids, ahead) : b->ids);         /* [T,D] */
    return c->scale == 1 ? x : scale(g, x, c->scale);
}

const struct module embed_plain = {
    .slot = SLOT_EMBED, .name = "plain", .about = "one vector a token",
    .conf_size = sizeof(struct conf), .params = params, .embed = build,
};
