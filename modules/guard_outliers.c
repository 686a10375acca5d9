/* Steps whose loss or gradient norm is more than sigma standard deviations above the mean of the last `window` steps
   are left out: weights, moments and balance stay as they are, and the batch is gone. Judged from half a window on.
   What is left out enters the window too. OLMo 2 2025. Metric `outlier`, and an event of the run, say when. */
#include "model/module.h"

static const struct param params[] = { OUTLIERS(struct outliers), { 0 } };

static void traits(struct pick self, struct traits *t)
{
    t->guards_from = ((const struct outliers *)self.conf)->window / 2;
}

const struct module guard_outliers = {
    .slot = SLOT_GUARD, .name = "outliers", .about = "leaves out steps far above those before",
    .conf_size = sizeof(struct outliers), .params = params, .traits = traits, .guard = build_outliers,
};
