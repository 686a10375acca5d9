/* Routing metrics that follow from the raw counts in the run file. They are computed when asked for, so every
   definition can change without training again. */
#ifndef SLUICE_ROUTING_H
#define SLUICE_ROUTING_H

#include "base/base.h"

/* What names of a router's metrics begin with: of the feed-forward, of attention. Ends in NULL. */
extern const char *const routing_routers[];

enum { ROUTING_NEEDS = 2 };
/* Rows of expert_tokens [rows,layers,experts], NaN where a layer has no such expert. top_k: experts of a token in each
   layer, [layers]; NaN where it is not known. idle: how many of a layer's experts, the last ones, compute nothing,
   [layers]; NULL: none. needed: rows of the other metrics that a derived one asks for. */
struct loads {
    int64_t rows, layers, experts;
    const double *tokens, *top_k;
    const int64_t *idle;
    const double *needed[ROUTING_NEEDS];
};

struct derived {
    const char *name, *unit, *about;
    enum better better;
    void (*layer)(const struct loads *l, int64_t layer, double *out);       /* fills out[row * layers + layer] */
    const char *needs[ROUTING_NEEDS];    /* stored metrics beside expert_tokens; NULL: none */
    bool of_choices;    /* of all that a token can choose: idle experts count as others do */
};
extern const struct derived routing_derived[];              /* ends with name NULL */

/* Tokens of l with NaN in place of those of idle experts; malloc'd. */
double *routing_computing(const struct loads *l);

/* out: [rows,layers]; NaN for layers without experts. */
void routing_derive(const struct derived *d, const struct loads *l, double *out);

#endif
