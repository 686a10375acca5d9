/* The routers of a run, asked with its checkpoints and a probe of held-out text. */
#ifndef SLUICE_VIEWS_H
#define SLUICE_VIEWS_H

#include "choices.h"
#include "runs.h"

enum { VIEWS_TOKENS = 8192 };                               /* of the probe, unless another number is asked for */
/* tokens: of the probe. against: the step that checkpoints are held against, -1: the newest. data: where the run's data
   lies now, NULL: where it was. closed: up to so many of a token's best experts are closed to it, 0: none. steps: other
   checkpoints are read too. */
struct views_options {
    int64_t tokens, against; const char *data; int closed; bool steps;
    int n_domains; const char *const *domain;               /* "NAME=FILE": held-out text of its own */
};

/* Of the experts of a router: the median, and the least and the most of them over it. NaN: there are none. */
struct evenness { double median, least, most; };
/* A router at the step that others are held against. */
struct view {
    const struct route *route;
    double *count, choices;                                 /* rows that chose each expert, and all */
    double max_vio, max_vio_floor, dead, drowned;           /* of experts that compute, as metrics of these names */
    struct gates gates;
    double *output_rms;                                     /* [experts]; NaN: none of the rows went there */
    struct evenness output, weight;                           /* of output_rms, of the route's weight_norm */
    struct margins margins; double reach;
    double *together, *adjacent, together_chance, adjacent_chance;         /* [experts,experts] */
    double input, input_chance, next, next_chance; int64_t input_ids, next_ids;    /* vocabulary specialisation */
    double class, class_chance;                             /* information of a byte's class; NaN: no bytes */
    double path, path_chance;                               /* of the router and the one before */
};
/* A checkpoint: of each router the share of the last choices that are its own, by chance too; and of its own those of
   the checkpoint before. */
struct moment { int64_t step; double loss, *shared, *chance, *kept; };
/* Other text at that step. */
struct domain { char *name; struct routes routes; };
struct views {
    struct routes last; struct view *view;                  /* [last.n] */
    int n_moments; struct moment *moment;                   /* in the order of steps; step 0 is before training */
    int n_domains; struct domain *domain;
    double leak;                                            /* see routes_leak */
    int n_closed; double *closed;                           /* loss without the 1, 2, .. best experts */
};
int views_read(struct run *r, const struct views_options *o, struct views *out, struct err *e);
void views_free(struct views *v);

/* "3", or where layers have routers of several names "3 ffn". Returns `out`. */
char *views_label(const struct views *v, int router, char out[32]);

/* Of a domain's tokens the share that goes to each expert of a router, [experts]; idle ones too. Returns the one with
   the largest; of random routing each has `chance`. */
int views_shares(const struct domain *d, int router, double *share, double *chance);
/* The strongest pair; false where there is none. */
struct strongest { int from, to; double share; };
bool views_strongest(const struct view *v, struct strongest *out);

#endif
