/* Figures, drawn by gnuplot, which runs as a child process. */
#ifndef SLUICE_PLOT_H
#define SLUICE_PLOT_H

#include "compare.h"

struct plot_options {
    const char *kind;                   /* one of plot_kinds */
    const char *out;
    const char *format;                 /* svg, png, pdf, or gp for the script itself; NULL: as the name of out ends */
    const char *metric;                 /* NULL: of a study its primary metric; of a run eval.loss */
    double smooth;                      /* of the exponential mean that is drawn over raw training curves; 0: none; NaN:
                                           by the number of rows */
    const char *variant; int replicate; /* kinds of one run: which of a study; NULL: the baseline */
    const char *data;                   /* kinds that ask a run's checkpoints: where its data lies now; NULL: where it
                                           was */
};
extern const char *const plot_kinds[], *const plot_formats[];      /* end in NULL */
bool plot_asks(const char *kind);                           /* it needs checkpoints and data of a run */

/* -1 leaves errno as the system gave it when the figure could not be written, else 0. */
int plot_study(const struct runs *runs, const struct plot_options *o, struct err *e);

#endif
