/* Short causal convolutions, x + conv(x), each channel with its own taps over the last tokens of the document. Of keys
   and values, as they were projected: K/V convolution (Inkling). Canon layers (Allen-Zhu 2025, Physics of Language
   Models 4.1): A is reads_attention, B queries, keys and values, C reads_ffn, D hidden. zero begins as none. */
#include "model/module.h"
#include <math.h>

struct conf { int taps, zero, keys, values, queries, reads_attention, reads_ffn, hidden, written; };
static const struct param params[] = {
    INT(struct conf, taps, 4, 1, 64, "token", "how far each reaches, its own token included"),
    BOOL(struct conf, zero, false, "taps are 0 at first, not even within 1 / sqrt(taps)"),
    BOOL(struct conf, keys, true, "on keys, before norm and position"),
    BOOL(struct conf, values, true, "on values"),
    BOOL(struct conf, queries, false, "on queries, before norm and position"),
    BOOL(struct conf, reads_attention, false, "on what attention reads, behind the norm"),
    BOOL(struct conf, reads_ffn, false, "on what the feed-forward reads, behind the norm"),
    BOOL(struct conf, hidden, false, "on a dense feed-forward's hidden values, before the activation"),
    BOOL(struct conf, written, false, "on what attention and feed-forward write, before the residual's sum"),
    { 0 }
};

static bool of_projections(const struct conf *c) { return c->queries || c->keys || c->values; }

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    for (int i = 0; i < model->layers; i++) {
        struct pick attention = model->attention.pick[i], ffn = model->ffn.pick[i];
        bool other = of_projections(c) && !module_traits(attention).convolved,
             routed = c->hidden && module_part(ffn, SLOT_ROUTER).module;
        if (model->conv.pick[i].conf != self.conf) continue;
        if (other)
            module_problem(problems, path, c->keys ? "keys" : c->values ? "values" : "queries",
                           "true: attention = %s of layer %d has none that are convolved here",
                           attention.module->name, i);
        if (routed)
            module_problem(problems, path, "hidden", "true: tokens of an expert of layer %d are no neighbours", i);
        if (c->queries && module_traits(module_part(attention, SLOT_EXPERTS)).top_k > 0)
            module_problem(problems, path, "queries", "true: experts make those of layer %d, other ones for each token",
                           i);
        if (other || routed) return;
    }
}

static bool stands(const struct conf *c, enum conv_at at)
{
    const int on[] = {
        [CONV_ATTENTION] = c->reads_attention, [CONV_FFN] = c->reads_ffn, [CONV_QUERIES] = c->queries,
        [CONV_KEYS] = c->keys, [CONV_VALUES] = c->values, [CONV_HIDDEN] = c->hidden, [CONV_WRITTEN] = c->written,
    };
    return on[at];
}

static struct node *build(struct build *b, struct pick self, enum conv_at at, struct node *x)
{
    const struct conf *c = self.conf;
    double most = 1 / sqrt(c->taps);
    int64_t width = shape_last(x->shape);                   /* x: [T,width] */
    if (!stands(c, at)) return x;
    struct node *taps = build_weight(b, "conv", ROLE_TAPS, SHAPE(width, c->taps),
                                     c->zero ? init_constant(0) : init_uniform(-most, most));
    struct node *state = build_state(b, "conv", SHAPE(width), c->taps > 1 ? c->taps - 1 : 1);
    return add(b->graph, x, conv1d(b->graph, x, taps, b->start, b->pos, state, 1, false));
}

const struct module conv_short = {
    .slot = SLOT_CONV, .name = "short", .about = "each channel's last tokens, added",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .conv = build,
};
