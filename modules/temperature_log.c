/* Attention that becomes sharper along a document, since a softmax over more keys is flatter: the logits of position p,
   from 0, are multiplied by
       1 + rate ln(floor((p + 1) / length) + 1)             rises = steps: Llama 4, in its layers without positions
       1 + rate ln(max((p + 1) / length, 1))                rises = evenly: Inkling, in its layers that see all */
#include "model/module.h"

enum rises { STEPS, EVENLY };
struct conf { double rate; int length, rises; };
static const struct param params[] = {
    REAL(struct conf, rate, 0.1, 0, 10, "", "factor on the logarithm"),
    INT(struct conf, length, 8192, 1, 1 << 30, "token", "the length of documents, at first and of a step"),
    CHOICE(struct conf, rises, STEPS, "steps evenly", "with each whole length, or with each token beyond the first"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct places at = build_places(b);
    struct node *lengths = positions(g, at.start, at.pos, c->length, c->rises == STEPS);        /* [T] */
    lengths = c->rises == STEPS ? offset(g, lengths, 1) : clamp(g, lengths, 1, 1e30);
    return view(g, offset(g, scale(g, log_of(g, lengths), c->rate), 1), SHAPE(b->tokens, 1));
}

const struct module temperature_log = {
    .slot = SLOT_TEMPERATURE, .name = "log", .about = "logits grow with the logarithm of the position",
    .conf_size = sizeof(struct conf), .params = params, .temperature = build,
};
