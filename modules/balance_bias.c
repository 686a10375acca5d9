/* Loss-free balancing: a bias moves the selection key and nothing else; after each step
       bias_i += gamma * sign(mean n - n_i)
   with counts of the whole optimizer batch. Wang 2024 (arXiv 2408.15664); DeepSeek-V3; WeLM. gamma is in units of the
   score: the default is for sigmoid. */
#include "module.h"

struct conf { double gamma; int centred; };
static const struct param params[] = {
    REAL(struct conf, gamma, 0.001, 0, 1, "score", "step of the bias"),
    BOOL(struct conf, centred, false, "subtract the mean step, so that the biases keep their sum (Moonlight)"),
    { 0 }
};

struct state { const struct conf *conf; struct node *counts; };

static struct node *bias_of(struct build *b) { return build_buffer(b, "router.bias", DTYPE_REAL, SHAPE(b->experts), 0); }

static struct node *key(struct build *b, const void *conf, struct node *key)
{
    (void)conf;
    return add_row(b->graph, key, bias_of(b));
}
