/* What sluice eval found, and how it says it. */
#ifndef SLUICE_CLI_EVAL_H
#define SLUICE_CLI_EVAL_H

#include "cli.h"
#include "shares.h"
#include "tasks/judge.h"
#include "tasks/passages.h"

/* A file of questions, and a text, as this model and the one that it is held against took them. */
struct sitting { struct questions questions; struct exam here, there; };
struct domain { char name[64]; struct passages here, there; };
/* against: NULL: there is one model. groups: the measure that is also given by group, or NULL. */
struct evaluated {
    const char *path, *against;
    const struct measure *groups;
    int sittings, domains; struct sitting *sitting; struct domain *domain;
};

/* Values of a measure, [n]; malloc'd. */
double *eval_values(const struct exam *x, const struct measure *m);
struct estimate eval_estimate(const struct exam *x, const struct measure *m);
/* Over the questions that m applies to. */
double eval_baseline(const struct exam *x, const struct measure *m, const struct measure *baseline);
/* McNemar's of right and wrong; else Student's t over the questions. */
double eval_p(const struct measure *m, const struct exam *here, const struct exam *there, struct paired *d);

/* By group, malloc'd list of n; over all items with the variance within groups; macro: the mean over groups. */
struct group { const char *name; struct estimate estimate; };
struct estimate eval_grouped(const struct sitting *s, const struct measure *m, struct group **out, int *n,
                             struct estimate *macro);

/* Bits per byte of a domain, here, there, and here less there; and the mean over domains of one of these. */
struct estimate eval_bits_here(const struct domain *d);
struct estimate eval_bits_there(const struct domain *d);
struct estimate eval_bits_difference(const struct domain *d);
struct estimate eval_macro(const struct evaluated *v, struct estimate (*of)(const struct domain *d));

void eval_print(const struct evaluated *v);
void eval_json(const struct evaluated *v);
/* A line a question and model. */
void eval_lines(const struct evaluated *v, FILE *to);

#endif
