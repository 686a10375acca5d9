/* The pairs of 0 to n-1 in rounds, as of a tournament: pairs of a round share nothing, and all rounds have each pair
   once. Where n is odd, one of a round has no partner: its pair's high is n. */
#ifndef SLUICE_ROUNDS_H
#define SLUICE_ROUNDS_H

#include "anywhere.h"

enum { ROUNDS_SWEEPS = 30 };    /* through all rounds, at most, of what turns by pairs until nothing is left to turn */
struct round_pair { int low, high; };

ANYWHERE int rounds_pairs(int n) { return (n + 1) / 2; }
ANYWHERE int rounds_of(int n) { return 2 * rounds_pairs(n) - 1; }

ANYWHERE struct round_pair rounds_pair(int n, int round, int k)
{
    int others = rounds_of(n), one = k ? 1 + (k - 1 + round) % others : 0, two = 1 + (others - 1 - k + round) % others;
    struct round_pair p = { one < two ? one : two, one < two ? two : one };
    return p;
}

#endif
