/* Which weights are frozen, and which of them have adapters. */
#include "building.h"

/* The first role of the bits. */
static const char *name_of(unsigned roles)
{
    enum role role = 0;
    while (role + 1 < ROLE_COUNT && !(roles >> role & 1)) role++;
    return role_rule[role].name;
}

bool build_freezes(const struct build *b, enum role role)
{
    struct pick p = b->conf->adapter;
    return p.module->trained && !(p.module->trained(p) >> role & 1);
}

bool build_adapts(const struct build *b, enum role role)
{
    struct pick p = b->conf->adapter;
    return p.module->adapted && p.module->adapted(p) >> role & 1;
}

enum kept_as build_kept_as(const struct build *b, enum role role)
{
    struct pick p = b->conf->adapter;
    return build_adapts(b, role) ? p.module->kept(p) : KEPT_FLOAT;
}

void build_check_adapter(struct build *b)
{
    struct pick p = b->conf->adapter;
    const struct leaves *l = b->graph->leaves;
    unsigned there = 0;
    if (!p.module->adapter || b->graph->failed) return;
    for (int i = 0; i < l->n; i++) if (leaf_trains(l->leaf[i])) there |= 1u << l->leaf[i]->role;
    unsigned missing = p.module->adapted(p) & ~b->own->adapted_roles, untrained = p.module->trained(p) & ~there;
    if (b->own->adapted_roles == 0)
        graph_fail(b->graph, "adapter.roles: this model has no product of such weights, as of '%s'", name_of(missing));
    else if (untrained)
        graph_fail(b->graph, "adapter.also: '%s': this model has no such weight", name_of(untrained));
}
