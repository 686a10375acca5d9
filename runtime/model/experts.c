/* Rules between how many experts there are to choose from, who chooses, and what keeps the load even. */
#include "registry.h"

#include <stdio.h>

static void check_groups(const struct experts *e, const struct traits *router, const char *path,
                         struct problems *problems)
{
    if (router->groups == 0) return;
    int choices = e->choices, room = choices / router->groups * router->group_limit;
    if (choices % router->groups != 0)
        module_problem(problems, path, "router.select.groups", "%d: %d experts cannot be divided so", router->groups,
                       choices);
    else if (router->top_k <= choices && room < router->top_k)
        module_problem(problems, path, "router.select.limit", "%d of %d groups have %d experts, top_k = %d are chosen",
                       router->group_limit, router->groups, room, router->top_k);
}

/* What a rule needs of the choice. How likely one was is known of normal noise alone, and of a choice that goes by
   nothing but the noisy logits: `mover` is the rule that moves it, or NULL. */
static void check_choice(const struct experts *e, const struct traits *router, const struct traits *rule,
                         const char *mover, const char *path, const char *key, struct problems *problems)
{
    if (rule->alone && !router->largest_keys)
        module_problem(problems, path, key, "needs a choice of the largest keys: router.select = \"top_k\"");
    if (rule->asks_noise && !router->normal_noise)
        module_problem(problems, path, key,
                       "needs normal noise on the router's logits: router.noise = \"learned\" or \"normal\"");
    if (rule->asks_draws && !router->drawn)
        module_problem(problems, path, key, "needs experts that are drawn: router.noise = \"gumbel\"");
    if ((rule->asks_noise || rule->asks_draws) && !router->largest_keys)
        module_problem(problems, path, key, "needs a choice of the largest logits: router.select = \"top_k\"");
    if ((rule->asks_noise || rule->asks_draws) && router->tiled)
        module_problem(problems, path, key, "needs the choice of each token alone: router.select.round = \"none\"");
    if ((rule->asks_noise || rule->asks_draws) && mover)
        module_problem(problems, path, key,
                       "needs a choice by noisy logits alone, and '%s' moves it: take one of them", mover);
    if ((rule->alone || rule->asks_noise || rule->asks_draws) && router->top_k >= e->choices)
        module_problem(problems, path, key, "with router.top_k = %d every one of %d experts is chosen: at most %d",
                       router->top_k, e->choices, e->choices - 1);
    if (rule->computed > 0 && e->idle == 0)
        module_problem(problems, path, key, "computed = %g: there are no idle experts, all %d of a token compute",
                       rule->computed, router->top_k);
    if (rule->computed > router->top_k)
        module_problem(problems, path, key, "computed = %g: a token has only %d experts", rule->computed,
                       router->top_k);
}

/* What a rule needs of scores and gates. */
static void check_scores(const struct traits *router, const struct traits *rule, const char *path, const char *key,
                         struct problems *problems)
{
    if (rule->asks_zeros && !router->has_zeros)
        module_problem(problems, path, key, "needs scores that may be 0: router.score = \"relu\"");
    if (rule->of_gates && router->even_gates)
        module_problem(problems, path, key, "has no gradient: router.normalize = even makes all gates alike");
    if (rule->of_scores && router->unscored)
        module_problem(problems, path, key, "is of the router's scores, and its logits are none");
}

static void check_balance(const struct experts *e, const struct traits *router, const char *path,
                          struct problems *problems)
{
    const char *mover = NULL, *before = NULL;
    for (int i = 0; i < e->balance.n; i++)
        if (e->balance.pick[i].module->balance_key) mover = e->balance.pick[i].module->name;
    for (int i = 0; i < e->balance.n; i++) {
        struct pick p = e->balance.pick[i];
        struct traits rule = module_traits(p);
        char key[64];
        snprintf(key, sizeof key, "balance.%s", p.module->name);
        if (rule.expert_groups && e->choices % rule.expert_groups != 0)
            module_problem(problems, path, key, "divides experts into %d equal groups, and %d experts cannot be",
                           rule.expert_groups, e->choices);
        if (p.module->balance_key && router->keyless)
            module_problem(problems, path, "balance", "%s moves the key, but router.select does not choose by it",
                           p.module->name);
        if (p.module->balance_key && router->balanced)
            module_problem(problems, path, key, "moves the key, and router.select keeps the load even by the logits "
                           "alone: take a rule that adds a loss, or none");
        if (p.module->balance_key && before)
            module_problem(problems, path, key, "moves the key, as '%s' does: take one of them", before);
        if (p.module->balance_key) before = p.module->name;
        if (rule.alone && e->balance.n > 1)
            module_problem(problems, path, key, "makes the load even by itself: take no other rule");
        check_choice(e, router, &rule, mover, path, key, problems);
        check_scores(router, &rule, path, key, problems);
    }
}

/* A router that has weights must learn what is a good choice: from gates, or from a rule. */
static void check_gradient(const struct experts *e, const struct traits *router, const char *path,
                           struct problems *problems)
{
    bool trained = router->unscored, rewarded = router->unscored;
    for (int i = 0; i < e->balance.n; i++) {
        struct traits rule = module_traits(e->balance.pick[i]);
        trained |= rule.trains;
        rewarded |= rule.rewards;
    }
    if (router->top_k == 1 && e->choices > 1 && router->gates_sum_to_one && !rewarded)
        module_problem(problems, path, "router.normalize",
                       "after: with top_k = 1 every gate would be 1 and the router would get no gradient");
    if (router->even_gates && !trained)
        module_problem(problems, path, "router.normalize",
                       "even: gates tell nothing of scores and the router would get no gradient: balance must train "
                       "it, as \"reinforce\" does");
}

void experts_check(const struct experts *e, const char *path, struct problems *problems)
{
    struct traits router = module_traits(e->router);
    if (router.top_k > e->choices)
        module_problem(problems, path, "router.top_k", "%d: the model has only %d experts", router.top_k,
                       e->choices);
    if (router.keyless && e->idle > 0)
        module_problem(problems, path, "router.select",
                       "chooses without scores: %d idle experts would be chosen whatever they give", e->idle);
    check_gradient(e, &router, path, problems);
    if (router.tiled && e->idle > 0)
        module_problem(problems, path, "router.revise",
                       "makes the tokens of an expert a multiple of a tile, which %d idle ones do not compute",
                       e->idle);
    check_groups(e, &router, path, problems);
    check_balance(e, &router, path, problems);
}
