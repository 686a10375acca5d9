/* Steps whose loss or gradient norm is more than sigma standard deviations above the mean of the last `window` steps
   are left out: weights, moments and balance stay as they are, and the batch is gone. Judged from half a window on.
   What is left out enters the window too. OLMo 2 2025. Metric `outlier`, and an event of the run, say when. */
#include "model/module.h"

struct conf { int window; double sigma; };
static const struct param params[] = {
    INT(struct conf, window, 128, 4, 65536, "step", "steps that one is measured against"),
    REAL(struct conf, sigma, 6, 0.1, 1e6, "", "standard deviations above their mean that are too many"),
    { 0 }
};

static struct node *build(struct build *b, struct pick self, struct node *clip, struct node *loss, struct node *norm)
{
    const struct conf *c = self.conf;
    struct node *go = skip_outliers(b->graph, clip, loss, norm,
                                    build_buffer(b, "guard.rings", DTYPE_REAL, SHAPE(2, c->window), 0),
                                    build_buffer(b, "guard.seen", DTYPE_REAL, SHAPE(1), 0), c->sigma);
    build_metric_as(b, "outlier", graph_result(b->graph, go, 1), "", CARRY_LAST, BETTER_LOWER,
                    "1 where loss or gradient norm was far above the steps before, and the update was left out");
    return go;
}

static void traits(struct pick self, struct traits *t)
{
    t->guards_from = ((const struct conf *)self.conf)->window / 2;
}

const struct module guard_outliers = {
    .slot = SLOT_GUARD, .name = "outliers", .about = "leaves out steps far above those before",
    .conf_size = sizeof(struct conf), .params = params, .traits = traits, .guard = build,
};
