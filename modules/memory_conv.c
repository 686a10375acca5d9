/* A short causal convolution of what `embed` gave, each channel with its own taps over the last tokens of the document,
   added to the stream: in the first layer a convolution on the embedding. */
#include "model/module.h"
#include <math.h>

struct conf { int taps, zero; };
static const struct param params[] = {
    INT(struct conf, taps, 4, 2, 64, "token", "how far it reaches, its own token included"),
    BOOL(struct conf, zero, false, "taps are 0 at first, not even within 1 / sqrt(taps)"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, const struct stream *s)
{
    const struct conf *c = self.conf;
    double most = 1 / sqrt(c->taps);
    (void)s;
    struct node *x = build_rows(b, build_kept(b, -1, "embed.token")),                           /* [T,D] */
                *taps = build_weight(b, "conv", ROLE_TAPS, SHAPE(b->width, c->taps),
                                     c->zero ? init_constant(0) : init_uniform(-most, most));
    return conv1d(b->graph, x, taps, b->start, b->pos, build_state(b, "conv", SHAPE(b->width), c->taps - 1), 1,
                  false);
}

const struct module memory_conv = {
    .slot = SLOT_MEMORY, .name = "conv", .about = "a short convolution of what `embed` gave",
    .conf_size = sizeof(struct conf), .params = params, .memory = build,
};
