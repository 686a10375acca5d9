/* Every chosen pair is computed: token rows sorted by expert, segments of any length. Gale 2022 (MegaBlocks). */
#include "model/module.h"

static struct dispatched build(struct build *b, struct pick self, struct node *u, struct routing *r)
{
    (void)self;
    struct graph *g = b->graph;
    struct node *sorted = dispatch(g, r->index, r->experts, r->rows);    /* offsets [E+1] */
    r->counts = graph_result(g, sorted, 3);
    struct dispatched d = { .offsets = sorted, .order = graph_result(g, sorted, 1),
                            .place = graph_result(g, sorted, 2) };
    d.rows = gather(g, u, d.order, d.place);                                                    /* [T*K,D] */
    return d;
}

const struct module dispatch_dropless = {
    .slot = SLOT_DISPATCH, .name = "dropless", .about = "every chosen pair is computed", .dispatch = build,
};
