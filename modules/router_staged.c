/* A router in stages, each a key: logits -> score -> key -> select -> gate -> scale. The published ones are settings:
       Switch, OLMoE, DeepSeek-V2   softmax               Mixtral, Qwen3   softmax, normalize after
       DeepSeek-V3                  sigmoid, after, bias  WeLM             sigmoid, bias
   Balance may move the key; the gate is always the unbiased score. */
#include "model/module.h"

enum score { SOFTMAX, SIGMOID };
enum normalize { NONE, BEFORE, AFTER };
struct conf { int score, top_k; struct pick select; int normalize; double scale; };
static const struct param params[] = {
    CHOICE(struct conf, score, SOFTMAX, "softmax sigmoid", "experts compete for a token, or are scored one by one"),
    INT(struct conf, top_k, 2, 1, 256, "", "experts for each token; where experts choose, in the mean"),
    SLOT(struct conf, select, SLOT_SELECT, "top_k", "who chooses whom"),
    CHOICE(struct conf, normalize, NONE, "none before after",
           "divide scores by their sum: over all experts, or over the chosen"),
    REAL(struct conf, scale, 1, 0.01, 100, "", "factor on the gates"),
    { 0 }
};
static const double tiny = 1e-20;                           /* keeps a row of zeros from dividing by zero */

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    if (c->score == SOFTMAX && c->normalize == BEFORE)
        module_problem(problems, path, "normalize", "before: softmax scores sum to 1 already, say \"none\"");
}

static struct routing build(struct build *b, struct pick self, struct node *u, int experts, struct picks balance)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct routing r = { .experts = experts, .k = c->top_k };
    r.logits = linear(b, "router", ROLE_ROUTER, u, experts);                                    /* [T,E] */
    r.score = c->score == SOFTMAX ? softmax(g, r.logits) : sigmoid(g, r.logits);
    r.share = c->score == SOFTMAX ? r.score : normalize(g, r.score, tiny);
    if (c->normalize == BEFORE) r.score = r.share;

    r.key = r.score;
    for (int i = 0; i < balance.n; i++) {
        struct pick p = balance.pick[i];
        if (p.module->balance_key) r.key = p.module->balance_key(b, p, r.key);
    }
    c->select.module->select(b, c->select, &r);                                                 /* [T,K] */
    r.gate = pick(g, r.score, r.index);
    if (c->normalize == AFTER) r.gate = normalize(g, r.gate, tiny);
    r.gate = scale(g, r.gate, c->scale);
    return r;
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->top_k = c->top_k;
    t->gates_sum_to_one = c->normalize == AFTER;
}

const struct module router_staged = {
    .slot = SLOT_ROUTER, .name = "staged", .about = "score, select, gate, each as set",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .router = build,
};
