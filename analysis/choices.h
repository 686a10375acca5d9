/* What the choices of a router say: which experts go together, how near a choice is to another, what a token's id says
   of its expert. Each stands beside what chance would give. Muennighoff 2024 (OLMoE, arXiv 2409.02060, section 5). */
#ifndef SLUICE_CHOICES_H
#define SLUICE_CHOICES_H

#include "train/routes.h"

/* Rows that chose each expert, [experts]; returns all choices. */
double choices_count(const struct route *r, double *count);

/* Saturation: of the experts that rows of `last` chose, the share that the same rows of r chose too; 1 - it is churn.
   chance: of choices of these numbers at random, K / E. NaN: the two have not the same rows. */
double choices_shared(const struct route *r, const struct route *last, double *chance);

/* Co-activation N_ij / N_i: of the rows that chose i the share that chose j too; [experts,experts], NaN where nobody
   chose i, 0 for i = j. adjacent: only neighbours in the order of a row's keys go together. Returns what every entry
   is by chance: of K of E (K - 1) / (E - 1), adjacent 2 / K of it. */
double choices_together(const struct route *r, bool adjacent, double *to);

/* Margins: smallest key that was chosen less the largest that was not. bin[0]: below 2^-20; then MARGIN_BINS of equal
   widths of their logarithm up to 4, the last with what is larger. */
enum { MARGIN_BINS = 32 };
struct margins {
    bool known;                                             /* the choice goes by the largest keys, and leaves some */
    double mean, median;
    double rounded;    /* share below 2^-8 of the key itself: rounding keys to bf16 may change the choice */
    double reached;    /* share below `reach`, the most by which two keys may move against each other; NaN: unknown */
    int64_t bin[MARGIN_BINS + 1];
};
struct margins choices_margins(const struct route *r, double reach);
double choices_bin(int bin);    /* where one begins; MARGIN_BINS + 1: where the last ends */

/* Means over rows: the largest gate, the sum, e to the entropy of gates over their sum; and the largest of all. */
struct gates { double largest, sum, effective, most; };
struct gates choices_gates(const struct route *r);

/* Vocabulary specialisation: of rows with one id, the share that has the most frequent first expert; mean over the ids
   with at least 10 rows, of which there are `ids`; NaN where there is none. chance: with first experts shuffled. id: of
   the probe's tokens, -1 where there is none. */
double choices_vocabulary(const struct route *r, const int32_t *id, double *chance, int64_t *ids);

/* Mutual information of an id's class and the first expert, in nat. class: of each id, 0 .. classes - 1. chance: as of
   choices_path. */
double choices_class(const struct route *r, const int32_t *id, const int *class, int classes, double *chance);

/* Mutual information of the first experts of two routers, in nat: what one says of the other. NaN: not the same rows.
   chance: what unrelated choices of so many rows have, (n - 1) (m - 1) / (2 rows), n and m experts being chosen. */
double choices_path(const struct route *r, const struct route *later, double *chance);

#endif
