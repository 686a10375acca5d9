/* Figures of what the newest checkpoint of one run chose. */
#ifndef SLUICE_FIGURE_VIEWS_H
#define SLUICE_FIGURE_VIEWS_H

#include "figure.h"
#include "views.h"

/* Asks the run that the options name, and paints the answer under "STUDY: `of` RUN, step N". */
int figure_views(struct canvas *canvas, const struct runs *all, const struct plot_options *o, const char *of,
                 int (*paint)(struct canvas *canvas, const struct run *r, const struct views *v, struct err *e),
                 struct err *e);

#endif
