/* Which experts a node's ranks compute twice, by loads of steps before, and where: the busiest for each of those who
   compute it has a copy more, again and again; the heaviest copy goes to the rank with the least to do, if it has room
   and not that expert yet. After DeepSeek's EPLB, of which homes stay here. Ties to the lower number, and of loads to
   what has fewer copies. */
#ifndef SLUICE_PLACEMENT_H
#define SLUICE_PLACEMENT_H

#include "anywhere.h"
#include "base/base.h"

/* Of a node: experts that its ranks have among them, and how many more each of these computes. */
struct placement { int experts, ranks, spare; };
/* What is found: of each expert how many compute it, and how many of its copies have no place yet; of each rank the
   experts of its further places, -1: none yet. */
struct placed { int *computing, *left, *table; };

ANYWHERE int placement_own(struct placement p) { return p.experts / p.ranks; }

/* What one of those who compute it has of an expert's load. */
ANYWHERE double placement_share(const real *load, struct placed at, int expert)
{
    return (double)load[expert] / at.computing[expert];
}

/* Whether another rank may have place for one more copy of an expert: of those of its home, others have room for so
   many. */
ANYWHERE int placement_may(struct placement p, struct placed at, int expert)
{
    int own = placement_own(p), first = expert / own * own, copies = 0;
    for (int e = first; e < first + own; e++) copies += at.computing[e] - 1;
    return at.computing[expert] < p.ranks && copies < (p.ranks - 1) * p.spare;
}

ANYWHERE void placement_count(struct placement p, const real *load, struct placed at)
{
    for (int e = 0; e < p.experts; e++) at.computing[e] = 1;
    for (int i = 0; i < p.ranks * p.spare; i++) {
        int most = -1;
        for (int e = 0; e < p.experts; e++) {
            if (!placement_may(p, at, e)) continue;
            double share = placement_share(load, at, e), best = most < 0 ? -1 : placement_share(load, at, most);
            if (share > best || (share == best && at.computing[e] < at.computing[most])) most = e;
        }
        at.computing[most]++;
    }
    for (int e = 0; e < p.experts; e++) at.left[e] = at.computing[e] - 1;
    for (int i = 0; i < p.ranks * p.spare; i++) at.table[i] = -1;
}

/* The copy without a place that is the heaviest. */
ANYWHERE int placement_next(struct placement p, const real *load, struct placed at)
{
    int next = -1;
    for (int e = 0; e < p.experts; e++)
        if (at.left[e] && (next < 0 || placement_share(load, at, e) > placement_share(load, at, next))) next = e;
    return next;
}

/* The first place of a rank that is free; as many as it has: none is. what: the rank's load, has: whether it computes
   the expert. */
ANYWHERE int placement_look(struct placement p, const real *load, struct placed at, int rank, int expert, double *what,
                            int *has)
{
    int own = placement_own(p), free = 0;
    *what = 0;
    *has = expert / own == rank;
    for (int e = rank * own; e < (rank + 1) * own; e++) *what += placement_share(load, at, e);
    for (; free < p.spare && at.table[rank * p.spare + free] >= 0; free++) {
        int there = at.table[rank * p.spare + free];
        *what += placement_share(load, at, there);
        *has |= there == expert;
    }
    return free;
}

ANYWHERE void placement_put(struct placement p, const real *load, struct placed at, int expert)
{
    int best = -1, best_has = 1;
    double least = 0;
    for (int r = 0; r < p.ranks; r++) {
        double what;
        int has, free = placement_look(p, load, at, r, expert, &what, &has);
        if (free == p.spare || (best >= 0 && (has > best_has || (has == best_has && what >= least)))) continue;
        best = r * p.spare + free;
        best_has = has;
        least = what;
    }
    at.table[best] = expert;
    at.left[expert]--;
}

ANYWHERE void placement_find(struct placement p, const real *load, struct placed at)
{
    placement_count(p, load, at);
    for (int i = 0; i < p.ranks * p.spare; i++) placement_put(p, load, at, placement_next(p, load, at));
}

/* Places are numbered rank by rank of the node, of each its own experts, then its copies. to[0] ..: those where
   `expert` is computed, its home first; how many they are. */
ANYWHERE int placement_places(struct placement p, struct placed at, int expert, int *to)
{
    int own = placement_own(p), each = own + p.spare, n = 0;
    to[n++] = expert / own * each + expert % own;
    for (int i = 0; i < p.ranks * p.spare; i++)
        if (at.table[i] == expert) to[n++] = i / p.spare * each + own + i % p.spare;
    return n;
}

#endif
