/* Roles of weights by their names, as parameters of modules list them. */
#include "building.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

bool role_multiplies(enum role role)
{
    return !role_rule[role].outside && !role_rule[role].real && role != ROLE_HEAD && role != ROLE_LORA_A &&
           role != ROLE_LORA_B;
}

/* ROLE_COUNT: there is none of this name. */
static enum role role_named(const char *name, int length)
{
    enum role role = 0;
    while (role < ROLE_COUNT && (strncmp(role_rule[role].name, name, (size_t)length) != 0 ||
                                 role_rule[role].name[length] != 0)) role++;
    return role;
}

unsigned build_roles(const char *names)
{
    const char *word;
    unsigned roles = 0;
    int length;
    for (int i = 0; (word = param_word(names, i, &length)); i++) roles |= 1u << role_named(word, length);
    return roles & ((1u << ROLE_COUNT) - 1);
}

unsigned build_product_roles(const char *names)
{
    unsigned roles = build_roles(names);
    for (enum role role = 0; role < ROLE_COUNT && !*names; role++)
        if (role_multiplies(role) && role != ROLE_MIX) roles |= 1u << role;
    return roles;
}

void build_check_roles(const char *names, const char *key, bool (*fit)(enum role role), const char *why,
                       const char *path, struct problems *problems)
{
    const char *word, *known[ROLE_COUNT + 1] = { NULL };
    int length;
    for (int i = 0, n = 0; i < ROLE_COUNT; i++) if (fit((enum role)i)) known[n++] = role_rule[i].name;
    for (int i = 0; (word = param_word(names, i, &length)); i++) {
        enum role role = role_named(word, length);
        char given[32];
        snprintf(given, sizeof given, "%.*s", length, word);
        char hint[HINT];
        if (role == ROLE_COUNT)
            module_problem(problems, path, key, "no role '%s'%s", given,
                           did_you_mean(nearest_name(given, known), hint));
        else if (!fit(role)) module_problem(problems, path, key, "'%s': %s", given, why);
    }
}
