/* Sandwich norm: x + norm(f(norm(x))). Ding 2021 (CogView); Gemma 2. A branch's output cannot grow with its weights.
   embed_norm: what `embed` gives is normalised too: Peri-LN (Kim 2025, arXiv 2502.02732). */
#include "model/module.h"

struct conf { int embed_norm; };
static const struct param params[] = {
    BOOL(struct conf, embed_norm, false, "the stream begins with a norm"),
    { 0 }
};

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    (void)self;
    struct node *y = f.build(b, f.context, build_norm(b, "norm", s->x));
    s->x = add(b->graph, s->x, build_norm(b, "norm_out", y));
}

static void open(struct build *b, struct pick self, struct stream *s)
{
    if (((const struct conf *)self.conf)->embed_norm) s->x = build_norm(b, "norm_in", s->x);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->branch_bounded = true; }

const struct module residual_sandwich = {
    .slot = SLOT_RESIDUAL, .name = "sandwich", .about = "norm on both sides of the branch",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .residual = build, .open = open,
};
