/* The update region. Any number of ops may change one weight; what changes weights runs before what reads them. Ops
   that touch the same weight, or its average, and the buffers that they change, belong together: where there are
   several ranks one of them holds the group, runs its ops alone, and gives the others what they read of it at the end
   of a phase.

   An op that depends on what ops of another holder changed, or that is nobody's and reads a change,
   waits for the next phase. */
#include "plan_private.h"
#include "graph/signature.h"

#include <stdlib.h>

static bool is_kept(const struct leaf *l) { return l && (l->kind == LEAF_WEIGHT || l->kind == LEAF_BUFFER); }
bool update_changes(const struct node *n, int input)
{
    struct op_value in;
    return op_input(n->op, input, &in) && in.changed;
}

bool update_is_held(const struct node *n)
{
    bool weight = false;
    if (n->region != REGION_UPDATE || n->op->kind != OP_COMPUTE || !op_changes(n->op)) return false;
    for (int k = 0; k < n->n_in; k++) {
        const struct leaf *l = plan_leaf_of(n->in[k]);
        if (l && l->kind == LEAF_BUFFER) l = l->of;         /* an average goes with its weight */
        weight |= l && l->kind == LEAF_WEIGHT;
    }
    return weight;
}

/* ---- what belongs together: a forest over leaves, by their ids ---- */

static int find(int *parent, int i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* Of an op that is held, the leaves that go with it: weights that it reads, and all that it changes. */
static bool goes_with(const struct node *n, int input)
{
    const struct leaf *l = plan_leaf_of(n->in[input]);
    return is_kept(l) && (l->kind == LEAF_WEIGHT || update_changes(n, input));
}

static void join(const struct graph *g, int *parent)
{
    for (int i = 0; i < g->leaves->n; i++) parent[i] = i;
    for (int i = 0; i < g->n; i++) {
        const struct node *n = g->node[i];
        int first = NONE;
        for (int k = 0; update_is_held(n) && k < n->n_in; k++) {
            if (!goes_with(n, k)) continue;
            int at = find(parent, plan_leaf_of(n->in[k])->id), low = first == NONE || at < first ? at : first;
            parent[at] = low;
            if (first != NONE) parent[first] = low;
            first = low;
        }
    }
}

/* ---- phases ---- */

/* The group of a node that is held, or NONE. */
static int group_of(const struct node *n, int *parent)
{
    for (int k = 0; update_is_held(n) && k < n->n_in; k++)
        if (goes_with(n, k)) return find(parent, plan_leaf_of(n->in[k])->id);
    return NONE;
}

/* A buffer that only its holder has cannot be read by what all ranks run. */
static int check_read(const struct node *n, int input, const struct leaf *l, struct err *e)
{
    struct op_value in;
    if (l->kind != LEAF_BUFFER || l->everywhere) return 0;
    op_input(n->op, input, &in);
    return err_set(e, "%s: %s reads '%s' (%s), which belongs to the rank that holds a weight: it must be everywhere",
                   n->path, n->op->name, in.name, l->path);
}

static int find_phase(struct plan *p, const struct node *n, int *parent, const int *changed, struct err *e)
{
    int group = group_of(n, parent), phase = 0;
    for (int k = 0; k < n->n_in; k++) {
        if (!n->in[k]) continue;
        const struct node *root = node_root(n->in[k]).node;
        const struct leaf *l = root->leaf;
        int its = root->region == REGION_UPDATE ? group_of(root, parent) : NONE,
            when = root->op->kind == OP_COMPUTE ? p->planned[root->id].phase : 0;
        if (l && is_kept(l) && changed[l->id] >= 0) {
            its = find(parent, l->id);
            when = changed[l->id];
            if (its != group && check_read(n, k, l, e)) return -1;
        }
        if (its != NONE && its != group) when++;
        if (when > phase) phase = when;
    }
    p->planned[n->id].phase = phase;
    return 0;
}

/* Changes first, in the order of the graph, then what reads them: a node sees all changes of a weight
   that do not wait for it. */
static int find_phases(struct plan *p, int *parent, struct err *e)
{
    const struct graph *g = p->graph;
    /* the last phase in which a leaf is changed so far */
    int *changed = xmalloc((size_t)(g->leaves->n + 1) * sizeof *changed), failure = 0;
    for (int i = 0; i < g->leaves->n; i++) changed[i] = NONE;
    for (int held = 1; held >= 0; held--)
        for (int i = 0; i < g->n && !failure; i++) {
            const struct node *n = g->node[i];
            bool early = update_is_held(n) || p->planned[i].precedes;
            if (n->region != REGION_UPDATE || n->op->kind != OP_COMPUTE || early != held) continue;
            failure = find_phase(p, n, parent, changed, e);
            for (int k = 0; !failure && update_is_held(n) && k < n->n_in; k++)
                if (update_changes(n, k) && is_kept(plan_leaf_of(n->in[k])))
                    changed[plan_leaf_of(n->in[k])->id] = p->planned[i].phase;
        }
    free(changed);
    return failure;
}

/* What a change depends on comes before it. */
static void mark_before(struct plan *p, const struct node *n)
{
    for (int k = 0; k < n->n_in; k++) {
        const struct node *root = n->in[k] ? node_root(n->in[k]).node : NULL;
        if (!root || root->region != REGION_UPDATE || root->op->kind != OP_COMPUTE || p->planned[root->id].precedes)
            continue;
        p->planned[root->id].precedes = true;
        mark_before(p, root);
    }
}

/* ---- holders ---- */

/* What replica i of a part holds, and those of its other parts with it, gets more. */
static double add_load(const struct place *here, unsigned replicas, int i, double *load, double more)
{
    struct place at = *here;
    double most = 0;
    unsigned parts = OVER_ALL & ~(replicas | OVER_PP);
    for (int part = 0; part < place_group(here, parts); part++) {
        at.rank = place_member(here, parts, part);
        double *its = &load[place_member(&at, replicas, i)];
        *its += more;
        if (*its > most) most = *its;
    }
    return most;
}

/* Of the replicas that have a group of leaves, the one with the least so far. */
static int least_loaded(const struct place *here, unsigned replicas, double *load)
{
    int least = 0;
    for (int i = 1; i < place_group(here, replicas); i++)
        if (add_load(here, replicas, i, load, 0) < add_load(here, replicas, least, load, 0)) least = i;
    return least;
}

/* Lots in the order of the graph; stages have those of the whole, which is planned before them. */
static void hold(struct plan *p, int *parent)
{
    const struct graph *g = p->graph;
    const struct place *here = &g->leaves->here;
    int ranks = mesh_ranks(&here->mesh);
    if (ranks == 1 || p->part >= 0) return;
    double *load = xcalloc((size_t)ranks, sizeof *load), *size = xcalloc((size_t)g->leaves->n + 1, sizeof *size);
    int *holder = xcalloc((size_t)g->leaves->n + 1, sizeof *holder);
    for (int i = 0; i < g->leaves->n; i++)
        if (leaf_trains(g->leaves->leaf[i]))
            size[find(parent, i)] += (double)shape_count(g->leaves->leaf[i]->decl.shape);
    for (int i = 0; i < g->n; i++) {
        int group = group_of(g->node[i], parent);
        if (group == NONE) continue;
        const struct leaf *l = g->leaves->leaf[group];
        unsigned replicas = leaf_replicas(l);
        struct place at = *here;
        if (l->home) at.rank = place_member(here, OVER_PP, l->home - 1);
        if (!holder[group]) {
            holder[group] = least_loaded(&at, replicas, load) + 1;
            add_load(&at, replicas, holder[group] - 1, load, size[group]);
        }
        for (int k = 0; k < g->node[i]->n_in; k++)
            if (goes_with(g->node[i], k)) plan_leaf_of(g->node[i]->in[k])->holder = holder[group];
    }
    free(load);
    free(size);
    free(holder);
}

int update_find(struct plan *p, struct err *e)
{
    const struct graph *g = p->graph;
    int *parent = xmalloc((size_t)(g->leaves->n + 1) * sizeof *parent);
    join(g, parent);
    for (int i = 0; i < g->n; i++) if (update_is_held(g->node[i])) mark_before(p, g->node[i]);
    int failure = find_phases(p, parent, e);
    if (!failure) hold(p, parent);
    free(parent);
    return failure;
}
