/* Learned factors on the stream and on what it was before, around another residual:
       x' = lambda x + lambda_0 x_0                at the beginning of each block, x_0 what `embed` gave
       x' = x + lambda_i x_i                       U-net: block L - 1 - i gets what block i left
       h  = x - lambda_b x_(L/2)                   backout: of what the first half left, before the head
   Jordan 2025 (modded-nanogpt), Karpathy 2025 (nanochat). As factors begin, x0 changes nothing. */
#include "model/module.h"

struct conf { struct pick residual; int x0, unet, backout; double stream_init, x0_init, unet_init, backout_init; };
static const struct param params[] = {
    SLOT(struct conf, residual, SLOT_RESIDUAL, "pre", "how branches read and write the stream"),
    BOOL(struct conf, x0, true, "each block begins with a mixture of the stream and of what `embed` gave"),
    BOOL(struct conf, unet, false, "blocks of the second half get what those of the first left, the last the first's"),
    BOOL(struct conf, backout, false, "what the first half left is taken out of what the head reads"),
    REAL(struct conf, stream_init, 1, -10, 10, "", "factor on the stream, at first"),
    REAL(struct conf, x0_init, 0, -10, 10, "", "factor on what `embed` gave, at first; nanochat: 0.2 to 0.05"),
    REAL(struct conf, unet_init, 1, -10, 10, "", "factor on what an earlier block left, at first; later: 0.18"),
    REAL(struct conf, backout_init, 0.2, -10, 10, "", "factor on what is taken out, at first"),
    { 0 }
};

/* begun: the block that is being built, -1: none. left[i]: what block i left, of the trunk. The stream keeps what forks
   read too: x_0, then what is taken out. */
struct own { int begun; struct node **left; };

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    for (int i = 0; i < model->layers; i++) {
        struct pick other = model->residual.pick[i];
        const struct conf *its = other.conf;
        if (other.module != self.module || (its->x0 == c->x0 && its->backout == c->backout)) continue;
        bool of_x0 = its->x0 != c->x0, own = of_x0 ? c->x0 : c->backout;
        module_problem(problems, path, of_x0 ? "x0" : "backout",
                       "%s: layer %d says %s, and layers with these factors share a stream and what it keeps",
                       own ? "true" : "false", i, own ? "false" : "true");
        return;
    }
    if (module_traits(c->residual).streams)
        module_problem(problems, path, "residual", "'%s' keeps several streams, of which these factors know one",
                       c->residual.module->name);
    else if (module_traits(c->residual).reads_past)
        module_problem(problems, path, "residual", "'%s' has its own ways to what the stream was: name another",
                       c->residual.module->name);
}

static struct node *factor(struct build *b, const char *name, double first)
{
    return build_weight(b, name, ROLE_SCALAR, SHAPE(1), init_constant(first));
}

/* What a block begins with. */
static struct node *begin(struct build *b, const struct conf *c, const struct own *own, const struct stream *s)
{
    struct graph *g = b->graph;
    struct node *x = s->x, *skip = NULL;
    if (c->x0)
        x = add(g, mul_scalar(g, x, factor(b, "lambda", c->stream_init)),
                mul_scalar(g, s->kept[0], factor(b, "lambda_x0", c->x0_init)));
    int from = b->layers - 1 - b->layer;
    if (c->unet && b->layer < b->layers && from < b->layer) skip = own->left[from];
    return skip ? add(g, x, mul_scalar(g, skip, factor(b, "lambda_skip", c->unet_init))) : x;
}

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    const struct conf *c = self.conf;
    struct own *own = s->own;
    if (own->begun != b->layer) {
        if (b->layer > 0 && b->layer < b->layers) own->left[b->layer - 1] = s->x;
        if (c->backout && b->layer > 0 && b->layer == b->layers / 2) stream_keep(b, s, s->x);
        s->x = begin(b, c, own, s);
        own->begun = b->layer;
    }
    c->residual.module->residual(b, c->residual, s, f);
}

static void open(struct build *b, struct pick self, struct stream *s)
{
    const struct conf *c = self.conf;
    struct own *own = arena_alloc(b->arena, sizeof *own);
    *own = (struct own){ -1, arena_alloc(b->arena, (size_t)b->layers * sizeof *own->left) };
    if (c->residual.module->open) c->residual.module->open(b, c->residual, s);
    if (c->x0) stream_keep(b, s, s->x0);
    s->own = own;
}

static struct node *close(struct build *b, struct pick self, const struct stream *s)
{
    const struct conf *c = self.conf;
    struct node *x = c->residual.module->close ? c->residual.module->close(b, c->residual, s) : s->x,
                *half = c->backout && s->n_kept > c->x0 ? s->kept[c->x0] : NULL;
    if (!half) return x;
    return subtract(b->graph, x, mul_scalar(b->graph, half, factor(b, "lambda_back", c->backout_init)));
}

static void traits(struct pick self, struct traits *t) { (void)self; t->reads_past = true; }

const struct module residual_lambdas = {
    .slot = SLOT_RESIDUAL, .name = "lambdas", .about = "learned factors on the stream and on its past, around another",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .residual = build,
    .open = open, .close = close,
};
