/* A router in stages, each a key: logits -> score -> key -> select -> gate -> scale. The published ones are settings:
       Switch, OLMoE, DeepSeek-V2   softmax               Mixtral, Qwen3   softmax, normalize after
       DeepSeek-V3                  sigmoid, after, bias  WeLM             sigmoid, bias
   Balance may move the key; the gate is always the unbiased score. */
#include "model/module.h"

enum score { SOFTMAX, SIGMOID };
enum normalize { NONE, BEFORE, AFTER };
struct conf { int score, top_k, normalize; double scale; };
static const struct param params[] = { CHOICE(struct conf, score, SOFTMAX, "softmax sigmoid",
                                              "experts compete for a token, or are scored one by one"),
                                       INT(struct conf, top_k, 2, 1, 256, "", "experts for each token"),
                                       CHOICE(struct conf, normalize, NONE, "none before after",
                                              "divide scores by their sum: over all experts, or over the chosen"),
                                       REAL(struct conf, scale, 1, 0.01, 100, "", "factor on the gates"),
                                       { 0 } };
static const double tiny = 1e-20;                           /* keeps a row of zeros from dividing by zero */

static void check(const void *conf, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = conf;
    if (c->score == SOFTMAX && c->normalize == BEFORE)
        module_problem(problems, path, "normalize", "before: softmax scores sum to 1 already, say \"none\"");
}

static struct routing build(struct build *b, const void *conf, struct node *u, int experts, struct picks balance)
{
    const struct conf *c = conf;
    struct graph *g = b->graph;
    struct routing r = { .experts = experts, .k = c->top_k };
    r.logits = linear(b, "router", ROLE_ROUTER, u, experts);                                    /* [T,E] */
    r.score = c->score == SOFTMAX ? softmax(g, r.logits) : sigmoid(g, r.logits);
    r.dense = c->score == SOFTMAX ? r.score : normalize(g, r.score, tiny);
    if (c->normalize == BEFORE) r.score = r.dense;

    struct node *key = r.score;
    for (int i = 0; i < balance.n; i++) {
        const struct pick *p = &balance.pick[i];
        if (p->module->balance_key) key = p->module->balance_key(b, p->conf, key);
    }
    r.index = topk(g, key, c->top_k);                                                           /* [T,K] */
    r.gate = pick(g, r.score, r.index);
    if (c->normalize == AFTER) r.gate = normalize(g, r.gate, tiny);
    r.gate = scale(g, r.gate, c->scale);
    return r;
}

const struct module router_staged = {
    .slot = SLOT_ROUTER, .name = "staged", .about = "token choice: score, select the top k, gate",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .router = build,
};
