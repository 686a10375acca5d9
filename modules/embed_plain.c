/* One vector a token: scale * E[id], or with a rank scale * E[id] W, E of so many columns (ALBERT, Lan 2019). A head
   that is tied to E then has a projection of its own to its width. */
#include "model/module.h"

struct conf { double scale; int rank; };
static const struct param params[] = {
    REAL(struct conf, scale, 1, 0.01, 1000, "", "factor on the vectors; Gemma: sqrt(d_model)"),
    INT(struct conf, rank, 0, 0, 65536, "",
        "width of a token's own vector, from which a matrix leads to d_model; 0: d_model"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, int ahead)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct shape shape = SHAPE(b->vocab, c->rank ? c->rank : b->width);
    build_enter(b, "embed");
    struct node *table = build_weight(b, "weight", ROLE_EMBED, shape, build_init(b, ROLE_EMBED, shape));
    build_keep(b, -1, "embed.table", table);
    struct node *x = embed(g, table, ahead ? shift(g, b->ids, ahead) : b->ids);         /* [T,D] or [T,R] */
    if (c->rank) x = linear_same(b, "project", ROLE_MIX, x, b->width, false);
    build_leave(b);
    return c->scale == 1 ? x : scale(g, x, c->scale);
}

const struct module embed_plain = {
    .slot = SLOT_EMBED, .name = "plain", .about = "one vector a token",
    .conf_size = sizeof(struct conf), .params = params, .embed = build,
};
