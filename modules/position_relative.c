/* Learned logits of distance, in place of rotation: to the logit of query t and the key d before it
       r[t,h] . P[d],  r = u W                              for d below extent
   is added, so that what a token asks of a distance depends on the token and the head, and beyond extent distance says
   nothing. Thinking Machines 2026 (Inkling: 16 features, extent 1024, or the window of a layer that has one). Shaw 2018
   is its ancestor. */
#include "model/module.h"

struct conf { int features, extent; };
static const struct param params[] = {
    INT(struct conf, features, 16, 1, 1024, "", "width of r"),
    INT(struct conf, extent, 1024, 1, 65536, "token", "distances that have a profile, the own position's included"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *x)
{
    (void)b; (void)self;
    return x;
}

static struct node *bias(struct build *b, struct pick self, struct node *u, int64_t heads)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    build_enter(b, "relative");
    struct node *r = linear(b, "features", ROLE_Q, u, heads * c->features),
                *by_head = view(g, r, SHAPE(b->tokens * heads, c->features)),
                *logits = linear_same(b, "profiles", ROLE_MIX, by_head, c->extent, false);      /* [T H,R] */
    build_leave(b);
    return view(g, logits, SHAPE(b->tokens, heads, c->extent));
}

const struct module position_relative = {
    .slot = SLOT_POSITION, .name = "relative", .about = "learned logits of distance",
    .conf_size = sizeof(struct conf), .params = params, .position = build, .bias = bias,
};
