/* Tokens of one run's experts over its steps, as figures of their load draw them. */
#ifndef SLUICE_FIGURE_EXPERTS_H
#define SLUICE_FIGURE_EXPERTS_H

#include "figure.h"
#include "metric.h"

struct experts {
    struct run *run;
    const char *router;                 /* whose experts, of routing_routers */
    struct curve curve;                 /* [rows,layers,experts]; NaN where a layer has no such expert that computes */
    int64_t layers, experts;
    int shown;                          /* layers with experts, one at least */
    bool idle;                          /* some have others that do not compute */
    char pace[96];                      /* "in each step", or how many steps a column has */
};
/* Of a study the run that the options name; of a run the experts that they name by their counts, or the first there
   are. */
int experts_read(struct experts *x, const struct runs *all, const struct plot_options *o, struct err *e);
void experts_free(struct experts *x);
bool experts_has(const struct experts *x, int64_t layer);

/* Rows are summed in columns of equal numbers of them. tokens: [experts], the caller's; own: experts of the layer. */
struct column { int64_t first, end; double step; double *tokens, total; int64_t own; };
int64_t experts_columns(const struct experts *x);
void experts_column(const struct experts *x, int64_t layer, int64_t at, struct column *c);

#endif
