/* Partial PostNorm with OutputNorm (WeLM):
       u = norm(x);  v = u + norm_out(attention(u));  y = v + ffn(norm(v))
   The attention's residual is the normalised u, so each block holds one PostNorm, after the ffn's sum. The output norm
   (over the width, after the output projection) keeps u and the branch from cancelling. */
#include "model/module.h"
#include <string.h>

struct conf { int output_norm; double gain_init; struct ints prenorm_layers; };
static const struct param params[] = {
    BOOL(struct conf, output_norm, true, "normalise what attention writes"),
    REAL(struct conf, gain_init, 1, 0.01, 10, "", "initial gain of the output norm"),
    INTS(struct conf, prenorm_layers, 0, 4095, "layers that are plain PreNorm, without output norm"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct ints *list = &((const struct conf *)self.conf)->prenorm_layers;
    int blocks = model_blocks(model);
    for (int i = 0; i < list->n; i++)
        if (list->value[i] >= blocks)
            module_problem(problems, path, "prenorm_layers", "%d: the last layer is %d", list->value[i], blocks - 1);
}

static bool listed(struct ints list, int layer)
{
    for (int i = 0; i < list.n; i++) if (list.value[i] == layer) return true;
    return false;
}

static void build(struct build *b, struct pick self, struct stream *s, struct sublayer f)
{
    const struct conf *c = self.conf;
    struct node *x = s->x, *u = build_norm(b, "norm", x), *y = f.build(b, f.context, u);
    if (!listed(c->prenorm_layers, b->layer) && strcmp(f.name, "attention") == 0) {
        x = u;
        if (c->output_norm) y = build_norm_from(b, "norm_out", y, c->gain_init);
    }
    s->x = add(b->graph, x, y);
}

static void traits(struct pick self, struct traits *t) { (void)self; t->branch_bounded = true; }

const struct module residual_partial_post = {
    .slot = SLOT_RESIDUAL, .name = "partial_post", .about = "PostNorm once a block, PreNorm before the ffn (WeLM)",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .residual = build,
};
