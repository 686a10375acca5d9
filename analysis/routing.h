/* Routing metrics that follow from the raw counts in the run file. They are computed when asked for, so every
   definition can change without training again. */
#ifndef SLUICE_ROUTING_H
#define SLUICE_ROUTING_H

#include "base/base.h"

/* What names of a router's metrics begin with: of the feed-forward, of attention. Ends in NULL. */
extern const char *const routing_routers[];

/* Rows of expert_tokens [rows,layers,experts] (NaN where a layer has no such expert) and of expert_dropped
   [rows,layers] or NULL. top_k: experts of a token in each layer, [layers]; NaN where it is not known. */
struct loads { int64_t rows, layers, experts; const double *tokens, *dropped, *top_k; };

struct derived {
    const char *name, *unit, *about;
    enum better better;
    bool needs_dropped;
    void (*layer)(const struct loads *l, int64_t layer, double *out);       /* fills out[row * layers + layer] */
};
extern const struct derived routing_derived[];              /* ends with name NULL */

/* out: [rows,layers]; NaN for layers without experts. */
void routing_derive(const struct derived *d, const struct loads *l, double *out);

#endif
