/* How widely heads look, in evaluations: head_attn_entropy, the mean entropy in nats of what a query gives its keys, 0
   where it goes to one, log n where n share it. Where it falls to 0 early, training becomes unstable (Zhai 2023). A
   sink is no key. It costs about as much as attention itself. */
#include "model/module.h"

static void attention_of(struct build *b, struct pick self, struct attention a)
{
    (void)self;
    struct node *entropy = build_present(b, attention_entropy(b->graph, a), 0);                 /* [T,H] */
    build_row_metric(b, "head_attn_entropy", mean_rows(b->graph, entropy), "nat", BETTER_NONE,
                     "mean entropy of what a query gives its keys, of each head");
}

const struct module monitors_attention = {
    .slot = SLOT_MONITORS, .name = "attention", .about = "entropy of attention", .watch_attention = attention_of,
};
