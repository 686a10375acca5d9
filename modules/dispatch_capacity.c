/* Capacity: an expert computes at most C = ceil(factor top_k S / E) pairs of each sequence; what finds no room is
   dropped and goes on by the residual alone. Lepikhin 2020 (GShard), Fedus 2021 (Switch). In evaluation and sampling
   nothing is dropped (DeepSeek-V2), so losses do not depend on who shares a sequence. */
#include "model/module.h"
#include <math.h>

struct conf { double factor; int first; };
static const struct param params[] = {
    REAL(struct conf, factor, 1.25, 0.01, 1024, "", "room of an expert, in shares of an even load"),
    CHOICE(struct conf, first, PRIORITY_TOKEN, "token choice gate",
           "who finds room first: earlier tokens, all first choices, the largest gates"),
    { 0 }
};

static struct dispatched build(struct build *b, struct pick self, struct node *u, struct routing *r)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    if (b->mode == MODE_TRAIN) {
        int64_t room = (int64_t)ceil(c->factor * r->k * (double)b->seq / r->experts);
        struct node *gate = c->first == PRIORITY_GATE ? r->gate : NULL;
        int computed = r->experts - r->idle;
        r->index = drop_over_capacity(g, r->index, gate, computed, b->batch, room, (enum priority)c->first);
        build_metric(b, "drop_rate", graph_result(g, r->index, 1), "", BETTER_LOWER,
                     "share of assignments that found no room at their expert");
        int64_t rows = b->batch * computed * room;
        if (r->rows == 0 || rows < r->rows) r->rows = rows;
    }
    return build_dispatched(b, u, r);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->uneven = true; }

const struct module dispatch_capacity = {
    .slot = SLOT_DISPATCH, .name = "capacity", .about = "an expert computes what it has room for",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .dispatch = build,
};
