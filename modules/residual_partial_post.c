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

static void check(const void *conf, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct ints *list = &((const struct conf *)conf)->prenorm_layers;
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

static struct node *output_norm(struct build *b, const struct conf *c, struct node *y)
{
    b->gain_shift = c->gain_init - 1;
    y = build_norm(b, "norm_out", y);
    b->gain_shift = 0;
    return y;
}

static struct node *build(struct build *b, const void *conf, struct node *x, struct sublayer f)
{
    const struct conf *c = conf;
    struct node *u = build_norm(b, "norm", x), *y = f.build(b, f.context, u);
    if (listed(c->prenorm_layers, b->layer) || strcmp(f.name, "attention") != 0) return add(b->graph, x, y);
    return add(b->graph, u, c->output_norm ? output_norm(b, c, y) : y);
}

const struct module residual_partial_post = {
    .slot = SLOT_RESIDUAL,
    .name = "partial_post",
    .about = "PostNorm once a block, PreNorm before the ffn (WeLM)",
    .branch_normed = true,
    .conf_size = sizeof(struct conf),
    .params = params,
    .check = check,
    .residual = build,
};
