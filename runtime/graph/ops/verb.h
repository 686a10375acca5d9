/* What a family of verbs begins with. A list has a line for each: its name and how it is called.

   Symbols: B sequences, S positions, T = B*S tokens, D width, H heads, G key/value heads, W head width,
   E experts, K chosen, R expert rows, at most T*K, F hidden, V vocabulary, C cache length.
   `start` is I32 [B,S]: position in its sequence at which the document of the token begins. `pos` is I32 [1] or
   NULL: how many positions precede this chunk in the caches (decode); NULL is 0 and no cache. */
#ifndef SLUICE_OPS_VERB_H
#define SLUICE_OPS_VERB_H

#include "graph/attributes.h"
#include "graph/graph.h"

#define OP_DECLARE(name, signature) \
    struct node *name signature; extern const struct op op_##name; extern const int index_of_##name;

#endif
