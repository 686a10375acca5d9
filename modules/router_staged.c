/* A router in stages, each a key: logits -> noise -> score -> key -> select -> gate -> scale. Published are:
       Switch, OLMoE, DeepSeek-V2   softmax               Mixtral, Qwen3   softmax, normalize after
       DeepSeek-V3                  sigmoid, after, bias  WeLM             sigmoid, bias
       Shazeer 2017                 softmax, after, noise learned          V-MoE   softmax, noise normal
   Balance may move the key; the gate is always the unbiased score. */
#include "model/module.h"

enum score { SOFTMAX, SIGMOID };
enum normalize { NONE, BEFORE, AFTER };
struct conf { int score, top_k; struct pick noise, select; int normalize; double scale; };
static const struct param params[] = {
    CHOICE(struct conf, score, SOFTMAX, "softmax sigmoid", "experts compete for a token, or are scored one by one"),
    INT(struct conf, top_k, 2, 1, 256, "", "experts for each token; where experts choose, in the mean"),
    SLOT(struct conf, noise, SLOT_NOISE, "none", "on the logits or what they are made of, in training"),
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
    if (module_traits(c->noise).of_choice && module_traits(c->select).keyless)
        module_problem(problems, path, "noise", "%s: moves the choice alone, which select = %s does not make by scores",
                       c->noise.module->name, c->select.module->name);
}

static struct noisy add_noise(struct build *b, struct pick p, struct node *u, struct node *logits)
{
    if (p.module->noise) return p.module->noise(b, p, u, logits);
    return (struct noisy){ logits, logits, NULL, 0 };
}

static struct node *score_of(struct graph *g, const struct conf *c, struct node *logits)
{
    struct node *score = c->score == SOFTMAX ? softmax(g, logits) : sigmoid(g, logits);
    return c->normalize == BEFORE ? normalize(g, score, tiny) : score;
}

static struct routing build(struct build *b, struct pick self, struct node *u, int experts, struct picks balance)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct routing r = { .experts = experts, .k = c->top_k };
    const struct module *m = c->noise.module;
    struct node *from = m->noise_input ? m->noise_input(b, c->noise, u) : u;                    /* [T,D] */
    r.logits = linear(b, "router", ROLE_ROUTER, from, experts);                                 /* [T,E] */
    r.noisy = add_noise(b, c->noise, u, r.logits);
    r.score = score_of(g, c, r.noisy.gate);
    r.share = c->score == SOFTMAX || c->normalize == BEFORE ? r.score : normalize(g, r.score, tiny);

    r.key = r.noisy.choice == r.noisy.gate ? r.score : score_of(g, c, r.noisy.choice);
    for (int i = 0; i < balance.n; i++) {
        struct pick p = balance.pick[i];
        if (p.module->balance_key) r.key = p.module->balance_key(b, p, &r);
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
