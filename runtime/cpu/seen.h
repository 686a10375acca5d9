/* Which keys a query sees: those of its document up to its own, of them the last `window`, and of its chunk; 0: no
   window, no chunks. */
#ifndef SLUICE_SEEN_H
#define SLUICE_SEEN_H

#include <stdint.h>

/* The first key that a query at `here` may see of a document from `start`: one past it if there is none. */
static inline int64_t first_key(int64_t here, int64_t start, int64_t window, int64_t chunk)
{
    int64_t first = start, nearest = here - window + 1;
    if (window && nearest > first) first = nearest;
    if (chunk && here - (here - start) % chunk > first) first = here - (here - start) % chunk;
    return first <= here ? first : here + 1;
}

/* Windows of m tokens, counted from where a document begins; that of tokens from p on lies at p / m, where no other of
   any document does. Of its document's a query sees those that end with it or before: [first, last). */
struct seen { int64_t first, last; };
static inline struct seen pooled_windows(int64_t here, int64_t start, int64_t m)
{
    int64_t whole = here >= start ? (here + 1 - start) / m : 0;
    return (struct seen){ start / m, start / m + whole };
}

/* A query sees S/2 keys on average, or window - window (window-1) / 2S. A chunk is as a sequence of its own. */
static inline double mean_keys(int64_t length, int64_t window, int64_t chunk)
{
    double seq = (double)(chunk && chunk < length ? chunk : length), most = (double)window;
    return window > 0 && most < seq ? most - most * (most - 1) / (2 * seq) : seq / 2;
}

#endif
