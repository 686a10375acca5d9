/* What freezes weights, and what is added to products of theirs. */
#include "building.h"
#include "graph/ops.h"

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

static bool adapts(const struct build *b, enum role role)
{
    struct pick p = b->conf->adapter;
    return p.module->adapted && p.module->adapted(p) >> role & 1;
}

enum kept_as build_kept_as(const struct build *b, enum role role)
{
    struct pick p = b->conf->adapter;
    return adapts(b, role) ? p.module->kept(p) : KEPT_FLOAT;
}

struct node *build_adapted(struct build *b, const char *name, struct node *x, struct node *w,
                           const struct dispatched *d)
{
    struct pick p = b->conf->adapter;
    struct node *y = build_product(b, x, w, d ? d->offsets : NULL);
    if (b->graph->failed || !adapts(b, w->leaf->role)) return y;
    b->own->adapted_roles |= 1u << w->leaf->role;
    return add(b->graph, y, p.module->adapter(b, p, &(struct adapted){ name, x, w->leaf, d }));
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
