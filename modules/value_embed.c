/* Value embeddings: v + gate E[id], E a table of this layer's and gate = mult sigmoid(u W), for each value head, of the
   first channels of u. Jordan 2025 (modded-nanogpt); nanochat, in every second layer. What is cached is the sum. */
#include "model/module.h"

struct conf { double mult; int channels; };
static const struct param params[] = {
    REAL(struct conf, mult, 3, 0.01, 100, "", "the most that a gate is; modded-nanogpt: 2"),
    INT(struct conf, channels, 12, 1, 65536, "", "values of u that gates read"),
    { 0 }
};

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    const struct conf *c = self.conf;
    if (c->channels > model->d_model)
        module_problem(problems, path, "channels", "%d: u has d_model = %d", c->channels, model->d_model);
}

static struct node *build(struct build *b, struct pick self, struct node *u, struct node *v)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    int64_t heads = v->shape.dim[1];
    struct shape size = SHAPE(b->vocab, heads * shape_last(v->shape));
    build_enter(b, "value");
    struct node *table = build_weight(b, "table", ROLE_TABLE, size, build_init(b, ROLE_TABLE, size)),
                *weight = build_reads(build_weight(b, "gate.weight", ROLE_GATE, SHAPE(heads, c->channels),
                                                  init_uniform(0, 0.02)), READS_SAME);
    build_leave(b);
    struct node *some = c->channels < b->width ? columns(g, u, 0, c->channels) : u,
                *gate = scale(g, sigmoid(g, matmul(g, some, weight, DTYPE_REAL)), c->mult);     /* [T,G] */
    build_row_metric(b, "head_value_gate", mean_rows(g, build_present(b, gate, 0)), "", BETTER_NONE,
                     "mean factor of each value head on its tokens' own vectors");
    return add(g, v, mul_heads(g, view(g, embed(g, table, build_ids(b)), v->shape), gate));
}

const struct module value_embed = {
    .slot = SLOT_VALUE, .name = "embed", .about = "a vector of the token's own beside its values",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .value = build,
};
