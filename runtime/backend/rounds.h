/* The pairs of 0 to n-1 in rounds, as of a tournament: pairs of a round share nothing, and all rounds have each pair
   once. Where n is odd, one of a round has no partner: its pair's high is n. */
#ifndef SLUICE_ROUNDS_H
#define SLUICE_ROUNDS_H

#include "anywhere.h"
#include <stdint.h>

enum { ROUNDS_SWEEPS = 30 };    /* through all rounds, at most, of what turns by pairs until nothing is left to turn */
struct round_pair { int64_t low, high; };

ANYWHERE int64_t rounds_pairs(int64_t n) { return (n + 1) / 2; }
ANYWHERE int64_t rounds_of(int64_t n) { return 2 * rounds_pairs(n) - 1; }

ANYWHERE struct round_pair rounds_pair(int64_t n, int64_t round, int64_t k)
{
    int64_t others = rounds_of(n), one = k ? 1 + (k - 1 + round) % others : 0,
            two = 1 + (others - 1 - k + round) % others;
    struct round_pair p = { one < two ? one : two, one < two ? two : one };
    return p;
}

#endif
