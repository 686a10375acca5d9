/* A router in stages, each a key:
       logits -> bias, logit_norm -> anneal -> noise -> score -> key -> select -> gate -> revise -> scale
   logit_norm is Skywork-MoE's (Wei 2024). Published are:
       Switch, OLMoE, DeepSeek-V2   softmax               Mixtral, Qwen3   softmax, normalize after
       DeepSeek-V3                  sigmoid, after, bias  WeLM             sigmoid, bias
       Shazeer 2017                 softmax, after, noise learned          V-MoE   softmax, noise normal
       DeepSeek-V4                  sqrt_softplus, after, bias balance     gpt-oss softmax, after, learned bias
       ReMoE                        relu, top_k with most, l1 balance      Llama 4 sigmoid, top_k 1, gate on the input
       RL-R                         softmax, top_k 1, even, noise gumbel   Roller 2021    no logits, even, select hash
   Balance may move the key; the gate is always the unbiased score, or with normalize = "even" one over their number
   whatever the score: no loss but what balance has then trains the router. */
#include "model/module.h"

#include <stdio.h>

enum score { SOFTMAX, SIGMOID, SQRT_SOFTPLUS, RELU };
enum normalize { NONE, BEFORE, AFTER, EVEN };
struct conf {
    int score, top_k; struct pick logits; int bias; double bias_start, logit_norm;
    struct pick anneal, noise, select, revise; int normalize, gate_on; double scale;
};
static const struct param params[] = {
    CHOICE(struct conf, score, SOFTMAX, "softmax sigmoid sqrt_softplus relu",
           "experts compete for a token, or are scored one by one; with relu those that score 0 are not used"),
    INT(struct conf, top_k, 2, 1, 256, "", "experts for each token; where experts choose, in the mean"),
    SLOT(struct conf, logits, SLOT_LOGITS, "linear", "what a token says to each expert"),
    BOOL(struct conf, bias, false, "a learned number is added to the logits of each expert, for choice and gates"),
    REAL(struct conf, bias_start, 0, -100, 0, "logit",
         "that number at first: below 0, with relu, fewer experts have a score"),
    OPTIONAL(struct conf, logit_norm, 0, 100, "", "logits of a token get mean 0 and this standard deviation; 0: stay"),
    SLOT(struct conf, anneal, SLOT_ANNEAL, "none", "how the router begins a run"),
    SLOT(struct conf, noise, SLOT_NOISE, "none", "on the logits or what they are made of, in training"),
    SLOT(struct conf, select, SLOT_SELECT, "top_k", "who chooses whom"),
    SLOT(struct conf, revise, SLOT_REVISE, "none", "what becomes of the choice once there are gates"),
    CHOICE(struct conf, normalize, NONE, "none before after even",
           "divide scores by their sum: over all experts, or over the chosen; even: of those each has the same gate"),
    CHOICE(struct conf, gate_on, GATE_OUTPUT, "output input hidden",
           "what of an expert the gate is a factor on; hidden: on what its last product reads, the same function, for "
           "which what experts write need not be kept (WeLM)"),
    REAL(struct conf, scale, 1, 0, 100, "",
         "factor on the gates; 0: with which a sum of unlike experts keeps the size of one (Moonlight)"),
    { 0 }
};
static const double tiny = 1e-20;                           /* keeps a row of zeros from dividing by zero */

/* Whether tokens have unlike numbers of experts. */
static bool varies(const struct conf *c) { return module_traits(c->select).uneven || module_traits(c->revise).uneven; }
/* Whether for a while fewer than top_k count. */
static bool narrows(const struct conf *c) { return c->top_k > 1 && module_traits(c->anneal).uneven; }

static bool sums_to_one(const struct conf *c) { return c->normalize == AFTER || c->normalize == EVEN; }

/* Logits that say nothing: what changes them would change nothing. */
static void check_unscored(const struct conf *c, const char *path, struct problems *problems)
{
    if (!module_traits(c->select).keyless)
        module_problem(problems, path, "logits", "%s: select = %s chooses by them", c->logits.module->name,
                       c->select.module->name);
    if (c->bias || c->logit_norm > 0)
        module_problem(problems, path, c->bias ? "bias" : "logit_norm", "there are no logits: logits = %s",
                       c->logits.module->name);
    if (c->noise.module->noise || c->noise.module->noise_input)
        module_problem(problems, path, "noise", "there are no logits: logits = %s", c->logits.module->name);
    if (c->anneal.module->anneal)
        module_problem(problems, path, "anneal", "there are no logits: logits = %s", c->logits.module->name);
}

static void check_choice(const struct conf *c, const char *path, struct problems *problems)
{
    struct traits select = module_traits(c->select);
    if (select.most_k && c->top_k > select.most_k)
        module_problem(problems, path, "top_k", "%d: select = \"%s\" assigns a token to one expert, for loads are "
                       "shared out among tokens, not among their choices: 1", c->top_k, c->select.module->name);
    if (select.cap && select.cap < c->top_k)
        module_problem(problems, path, "select.cap",
                       "%d: a token has top_k = %d experts in the mean: at least as many, or 0 for any number",
                       select.cap, c->top_k);
    if (select.most > 0 && c->score != RELU)
        module_problem(problems, path, "select.most", "%d: all scores but those of relu are above 0: score = \"relu\", "
                       "or 0", select.most);
    if (select.most > 0 && select.most < c->top_k)
        module_problem(problems, path, "select.most", "%d: a token has top_k = %d experts in the mean", select.most,
                       c->top_k);
    if (narrows(c) && select.uneven)
        module_problem(problems, path, "anneal", "narrows a token's choice, whose number select = %s leaves open",
                       c->select.module->name);
    if (module_traits(c->noise).of_choice && select.keyless)
        module_problem(problems, path, "noise", "%s: moves the choice alone, which select = %s does not make by scores",
                       c->noise.module->name, c->select.module->name);
}

static void check_revision(const struct conf *c, const char *path, struct problems *problems)
{
    struct traits select = module_traits(c->select), revise = module_traits(c->revise);
    if (!c->revise.module->revise) return;
    if (select.keyless || select.looks_ahead != AHEAD_NEVER)
        module_problem(problems, path, "revise", "%s: with select = %s no token chooses by its keys alone",
                       c->revise.module->name, c->select.module->name);
    if (revise.adds && select.group_limit < select.groups)
        module_problem(problems, path, "revise",
                       "%s adds tokens to experts beyond the %d groups that each may go to: round = \"down\"",
                       c->revise.module->name, select.group_limit);
}

static void check_logits(const struct conf *c, const char *path, struct problems *problems)
{
    if (c->bias_start != 0 && !c->bias)
        module_problem(problems, path, "bias_start", "%g: there is no bias, say bias = true", c->bias_start);
    if (module_traits(c->logits).unscored) check_unscored(c, path, problems);
}

static void check_gates(const struct conf *c, const char *path, struct problems *problems)
{
    bool one = c->top_k == 1 && !varies(c);
    if (c->score == SOFTMAX && c->normalize == BEFORE)
        module_problem(problems, path, "normalize", "before: softmax scores sum to 1 already, say \"none\"");
    if (c->gate_on == GATE_INPUT && !one)
        module_problem(problems, path, "gate_on",
                       "input: a token has one input, so it must have one expert: top_k = 1, chosen by the token");
    if (c->gate_on == GATE_INPUT && c->normalize == EVEN)
        module_problem(problems, path, "gate_on", "input: with normalize = even the gate of one expert is 1");
    if (c->normalize == EVEN && module_traits(c->noise).learned)
        module_problem(problems, path, "noise", "%s: learns from gates, and even ones tell nothing",
                       c->noise.module->name);
    if (c->scale == 0 && !sums_to_one(c))
        module_problem(problems, path, "scale", "0: is for gates that sum to 1, normalize = \"after\" or \"even\"");
}

static void check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems)
{
    (void)model;
    const struct conf *c = self.conf;
    check_choice(c, path, problems);
    check_revision(c, path, problems);
    check_gates(c, path, problems);
    check_logits(c, path, problems);
}

static struct anneal anneal_of(struct build *b, const struct conf *c)
{
    struct pick p = c->anneal;
    return p.module->anneal ? p.module->anneal(b, p, c->top_k) : (struct anneal){ NULL, NULL, false };
}

static struct node *annealed(struct graph *g, struct node *logits, struct node *sharpness)
{
    return sharpness ? mul_scalar(g, logits, sharpness) : logits;
}

static struct noisy add_noise(struct build *b, struct pick p, struct node *u, struct node *logits)
{
    if (p.module->noise) return p.module->noise(b, p, u, logits);
    return (struct noisy){ .choice = logits, .gate = logits };
}

/* Less the mean of each row, over their deviation. */
static struct node *standardize(struct build *b, struct node *x, double to)
{
    struct graph *g = b->graph;
    int64_t n = shape_last(x->shape);
    struct node *mean = scale(g, view(g, build_row_sum(b, x), SHAPE(x->shape.dim[0])), 1 / (double)n);     /* [T] */
    return scale(g, rmsnorm(g, subtract(g, x, repeat(g, mean, n)), NULL, 1e-6, false), to);
}

static struct node *logits_of(struct build *b, const struct conf *c, struct node *u, int experts)
{
    struct graph *g = b->graph;
    struct node *logits = c->logits.module->logits(b, c->logits, u, experts);                   /* [T,E] */
    if (c->bias)
        logits = add_row(g, logits, build_weight(b, "router.offset", ROLE_SCALAR, SHAPE(experts),
                                                init_constant(c->bias_start)));
    return c->logit_norm > 0 ? standardize(b, logits, c->logit_norm) : logits;
}

static double sigmoid_of(double z) { return 1 / (1 + exp(-z)); }
static double sqrt_softplus_of(double z) { return sqrt(log1p(exp(z))); }
static double relu_of(double z) { return fmax(z, 0); }

/* Of rows, and of one logit before any sum. */
static const struct { struct node *(*rows)(struct graph *g, struct node *z); double (*one)(double z); } scores[] = {
    [SOFTMAX] = { softmax, exp }, [SIGMOID] = { sigmoid, sigmoid_of },
    [SQRT_SOFTPLUS] = { sqrt_softplus, sqrt_softplus_of }, [RELU] = { relu, relu_of },
};

static double scale_of(const struct conf *c, int experts)
{
    if (c->scale > 0) return c->scale;
    return c->normalize == EVEN ? sqrt(c->top_k) : build_unit_scale(experts, c->top_k, scores[c->score].one);
}

static struct node *score_of(struct graph *g, const struct conf *c, struct node *logits)
{
    struct node *score = scores[c->score].rows(g, logits);
    return c->normalize == BEFORE ? normalize(g, score, tiny) : score;
}

/* Rows that sum to 1. Who likes no expert likes all alike. */
static struct node *share_of(struct graph *g, const struct conf *c, struct node *score)
{
    if (c->score == SOFTMAX || (c->normalize == BEFORE && c->score != RELU)) return score;
    return normalize(g, c->score == RELU ? offset(g, score, tiny) : score, tiny);
}

static struct routing build(struct build *b, struct pick self, struct node *u, int experts, struct picks balance)
{
    const struct conf *c = self.conf;
    struct graph *g = b->graph;
    struct traits choice = module_traits(self);
    struct routing r = { .experts = experts, .k = c->top_k, .uneven = varies(c),
                         .keyless = choice.keyless, .largest_keys = choice.largest_keys, .input = u,
                         .gate_on = (enum gate_on)c->gate_on };
    const struct module *m = c->noise.module;
    struct node *from = m->noise_input ? m->noise_input(b, c->noise, u) : u;                    /* [T,D] */
    struct anneal start = anneal_of(b, c);
    struct node *beneath = start.beneath_noise ? start.sharpness : NULL, *above = beneath ? NULL : start.sharpness;
    r.logits = annealed(g, logits_of(b, c, from, experts), beneath);                            /* [T,E] */
    r.noisy = add_noise(b, c->noise, u, r.logits);
    r.key_logits = annealed(g, r.noisy.gate, above);
    r.key = r.score = score_of(g, c, r.key_logits);
    r.share = share_of(g, c, r.score);

    if (r.noisy.choice != r.noisy.gate) {
        r.key_logits = annealed(g, r.noisy.choice, above);
        r.key = score_of(g, c, r.key_logits);
    }
    for (int i = 0; i < balance.n; i++) {
        struct pick p = balance.pick[i];
        if (p.module->balance_key) r.key = p.module->balance_key(b, p, &r);
    }
    r.key = build_without_best(b, r.key);
    r.key_logits = build_without_best(b, r.key_logits);
    c->select.module->select(b, c->select, &r);                                                 /* [T,K] */
    r.gate = pick(g, r.score, r.index);
    if (start.open) r.gate = mul_row(g, r.gate, start.open);
    if (start.open || c->score == RELU) {
        r.index = drop_zero(g, r.index, r.gate);
        r.uneven = true;
    }
    if (c->normalize == EVEN) r.gate = pick(g, build_ones(b, r.score->shape), r.index);
    if (sums_to_one(c)) r.gate = normalize(g, r.gate, tiny);
    r.chosen = r.index;
    if (c->revise.module->revise) c->revise.module->revise(b, c->revise, &r);
    r.gate = scale(g, r.gate, scale_of(c, experts));
    return r;
}

/* Where all logits are 0. */
static void gate_of_all(const struct conf *c, struct traits *t)
{
    static const double alone[] = { [SIGMOID] = 0.5, [SQRT_SOFTPLUS] = 0.8325546111576977, [RELU] = 0 };
    t->competing = c->score == SOFTMAX || c->normalize == BEFORE;
    t->gate_over = sums_to_one(c) ? GATE_OVER_CHOSEN : t->competing ? GATE_OVER_ALL : GATE_ALONE;
    t->gate_level = c->scale * (t->gate_over == GATE_ALONE ? alone[c->score] : 1);
}

static void traits(struct pick self, struct traits *t)
{
    const struct conf *c = self.conf;
    t->top_k = c->top_k;
    gate_of_all(c, t);
    t->gates_sum_to_one = c->normalize == AFTER;
    t->even_gates = c->normalize == EVEN;
    t->hidden_gates = c->gate_on == GATE_HIDDEN;
    t->has_zeros = c->score == RELU && c->normalize != BEFORE;
    if (c->score == RELU || narrows(c)) { t->uneven = true; t->largest_keys = false; }
}

const struct module router_staged = {
    .slot = SLOT_ROUTER, .name = "staged", .about = "score, select, gate, each as set",
    .conf_size = sizeof(struct conf), .params = params, .check = check, .traits = traits, .router = build,
};
