/* Steps that stand out of those before them, by the loss or the gradients' norm. They follow from rows in the run file,
   of which there is one for each step. */
#ifndef SLUICE_SPIKES_H
#define SLUICE_SPIKES_H

#include "base/base.h"

/* Of n steps: loss and grad_norm, NaN where there was none; out: one value a step. */
struct spiked {
    const char *name, *about;
    void (*steps)(const double *loss, const double *grad_norm, int64_t n, double *out);
};
extern const struct spiked spikes_derived[];                /* ends with name NULL */

#endif
