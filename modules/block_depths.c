/* Mixture-of-Depths: another block runs on some tokens alone, of each sequence on the C = ceil(capacity S) with the
   largest r, which attend to each other; the rest pass it by:
       x' = x + gate(r) (block(x) - x),  r = w x      gate: r itself as published, or its sigmoid
   Positions are those in the whole document; windows, chunks and relative positions count the tokens that are taken.
   Whether one is depends on later ones: this is no causal model, and there is nothing to sample. Raposo 2024 (arXiv
   2404.02258), with 0.125 in every second layer. Of feed-forwards alone: select expert_choice, of one expert. */
#include "model/module.h"
#include <math.h>

enum gate { RAW, SIGMOID };
struct conf { struct pick block; double capacity; int gate; };
static const struct param params[] = {
    SLOT(struct conf, block, SLOT_BLOCK, "sequential", "what runs on the tokens that are taken"),
    REAL(struct conf, capacity, 0.125, 1e-3, 1, "", "share of a sequence's tokens that is taken"),
    CHOICE(struct conf, gate, RAW, "raw sigmoid", "the factor on what the block adds: r, or its sigmoid"),
    { 0 }
};

/* What reads or writes beside the stream has all tokens. */
static const char *other_tokens(const struct conf *c, const struct model_conf *model, int layer)
{
    struct traits residual = module_traits(model->residual.pick[layer]);
    if (residual.streams || residual.reads_past) return "its residual knows the whole stream";
    if (module_traits(model->ffn.pick[layer]).rewards) return "its balance rule asks for the loss of each token";
    if (module_traits(c->block).takes > 0) return "its block takes tokens out by itself";
    for (int i = 0; i < model->layers; i++) {
        if (module_traits(model->attention.pick[i]).of_others) return "attention reads what another layer made";
        if (module_traits(model->block.pick[i]).joins_next) return "what a layer makes is added in the next";
    }
    return NULL;
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    for (int i = 0; i < model->layers; i++) {
        const char *why = other_tokens(self.conf, model, i);
        if (model->block.pick[i].conf != self.conf || !why) continue;
        module_problem(problems, path, "capacity", "layer %d has some of the tokens alone, but %s", i, why);
        return;
    }
}

static void traits(struct pick self, struct traits *t)
{
    looks_ahead(t, AHEAD_ALWAYS);
    t->takes = ((const struct conf *)self.conf)->capacity;
}

static void build(struct build *b, struct pick self, struct stream *s)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t each = (int64_t)share_up(c->capacity * (double)b->seq);
    build_enter(b, "depths");
    struct node *r = readout(b, "router", ROLE_ROUTER, s->x, 1),                                /* [T,1] */
                *gate = c->gate == SIGMOID ? sigmoid(g, r) : r,
                *index = topk_columns(g, build_present(b, r, -1e30), b->batch, each);
    build_leave(b);
    const struct taken *t = build_take_enter(b, index, each);
    struct node *rows = gather(g, s->x, t->order, t->inverse);                                  /* [R,D] */
    struct stream inner = { .x = rows, .x0 = rows };
    c->block.module->block(b, c->block, &inner);
    build_take_leave(b);
    s->x = add(g, s->x, combine(g, subtract(g, inner.x, rows), t->order, t->inverse, gate));
    s->sublayers += inner.sublayers;
}

const struct module block_depths = {
    .slot = SLOT_BLOCK, .name = "depths", .about = "another block on some of the tokens (Mixture-of-Depths)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .block = build,
};
