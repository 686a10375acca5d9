/* QK-norm: RMSNorm over each query and key head, before positions; the heads share a gain (Qwen3). Logits are bounded
   by sqrt(head_dim) and the gains. Henry 2020; Dehghani 2023. over = all: over the heads side by side, with gains of
   that width (OLMo 2). zero_centred: Qwen3-Next, Gemma 3. behind, without gain: Llama 4, in the layers that rotate.
   values: those too, without gain (Gemma 3n). */
#include "model/module.h"

enum over { HEAD, ALL };
struct conf { double eps; int over, gain, zero_centred, behind, values; };
static const struct param params[] = {
    REAL(struct conf, eps, 1e-6, 1e-12, 1e-2, "", "added to the mean square"),
    CHOICE(struct conf, over, HEAD, "head all", "what is a row: each head, or all of a token"),
    BOOL(struct conf, gain, true, "a learned gain for each value of a row"),
    BOOL(struct conf, zero_centred, false, "keep gains as their distance from 1, as norm = rms does"),
    BOOL(struct conf, behind, false, "after positions, not before"),
    BOOL(struct conf, values, false, "each value head is normalised, without gain"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->zero_centred && !c->gain)
        module_problem(problems, path, "zero_centred", "true: there are no gains, say gain = true");
}

static struct node *build(struct build *b, struct pick self, const char *which, struct node *x)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct node *gain = NULL;
    struct shape heads = x->shape;                          /* [T,H,W] */
    bool value = *which == 'v', all = c->over == ALL && !value;
    if (value && !c->values) return x;
    if (all) x = view(g, x, SHAPE(b->tokens, heads.dim[1] * heads.dim[2]));
    build_enter(b, "%s_norm", which);
    if (c->gain && !value)
        gain = build_shared(b, build_weight(b, "gain", ROLE_GAIN, SHAPE(shape_last(x->shape)),
                                            init_constant(c->zero_centred ? 0 : 1)));
    build_leave(b);
    x = rmsnorm(g, x, gain, c->eps, gain && c->zero_centred);
    return all ? view(g, x, heads) : x;
}

static void traits(struct pick self, struct traits *t)
{
    t->normed_q = t->normed_k = true;
    t->norms_all = ((const struct conf *)self.conf)->over == ALL;
    t->norms_rotated = ((const struct conf *)self.conf)->behind;
}

const struct module qk_norm_qk = {
    .slot = SLOT_QK_NORM, .name = "qk", .about = "norm on queries and keys",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .qk_norm = build,
};
