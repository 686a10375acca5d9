/* Rules between how many experts there are to choose from, who chooses, and what keeps the load even. */
#include "module.h"

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
    if (rule->asks_noise && !router->largest_keys)
        module_problem(problems, path, key, "needs a choice of the largest logits: router.select = \"top_k\"");
    if (rule->asks_noise && mover)
        module_problem(problems, path, key,
                       "needs a choice by noisy logits alone, and '%s' moves it: take one of them", mover);
    if ((rule->alone || rule->asks_noise) && router->top_k >= e->choices)
        module_problem(problems, path, key, "with router.top_k = %d every one of %d experts is chosen: at most %d",
                       router->top_k, e->choices, e->choices - 1);
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
        if (p.module->balance_key && router->even)
            module_problem(problems, path, key, "moves the key, and router.select keeps the load even by the logits "
                           "alone: take a rule that adds a loss, or none");
        if (p.module->balance_key && before)
            module_problem(problems, path, key, "moves the key, as '%s' does: take one of them", before);
        if (p.module->balance_key) before = p.module->name;
        if (rule.alone && e->balance.n > 1)
            module_problem(problems, path, key, "makes the load even by itself: take no other rule");
        check_choice(e, router, &rule, mover, path, key, problems);
    }
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
    if (router.top_k == 1 && e->choices > 1 && router.gates_sum_to_one)
        module_problem(problems, path, "router.normalize",
                       "after: with top_k = 1 every gate would be 1 and the router would get no gradient");
    check_groups(e, &router, path, problems);
    check_balance(e, &router, path, problems);
}
