/* After a step whose loss or gradient norm is more than sigma standard deviations above the mean of the last `window`
   steps, judged from half a window on, or is no number, the run goes back: weights, moments, balance and the window are
   those of the last checkpoint again, of a step that checkpoint_every divides. Data and schedule go on, so that the
   batches which led there are passed over for good, and each step has the batch that it has in every run of its seed.
   After ten returns it counts as diverged. PaLM 2022. Metric `outlier` and events of the run say when. */
#include "model/module.h"

static const struct param params[] = { OUTLIERS(struct outliers), { 0 } };

static void traits(struct pick self, struct traits *t)
{
    t->guards_from = ((const struct outliers *)self.conf)->window / 2;
    t->goes_back = true;
}

const struct module guard_rollback = {
    .slot = SLOT_GUARD, .name = "rollback", .about = "goes back to a checkpoint after a step far above those before",
    .conf_size = sizeof(struct outliers), .params = params, .traits = traits, .guard = build_outliers,
};
