/* Normal draws as wide as keeps the size of what a matrix gives: sqrt(gain / in), in the values that one of its results
   is made of (OLMo-core's fan_in), or sqrt(2 gain / (in + out)) (Xavier; Glorot 2010), as DeepNorm has it. The rows of
   tables and embeddings are looked up, not multiplied: 1 wide, or 1 / sqrt(D) where the head is tied to them. */
#include "model/module.h"
#include <math.h>

enum fan { FAN_IN, FAN_BOTH };
struct conf { int fan; double gain, cut, embed; };
static const struct param params[] = {
    CHOICE(struct conf, fan, FAN_IN, "in both", "what a matrix' width goes by: its inputs, or these and its outputs"),
    REAL(struct conf, gain, 1, 1e-4, 100, "", "of the variance"),
    OPTIONAL(struct conf, cut, 3, 10, "std", "draws beyond it are drawn again; 0: not truncated"),
    OPTIONAL(struct conf, embed, 0, 100, "",
             "standard deviation of embeddings; 0: 1, or 1 / sqrt(d_model) where they are the head too"),
    { 0 }
};

static struct init init(struct build *b, struct pick self, enum role role, struct shape shape)
{
    const struct conf *c = self.conf;
    double in = (double)shape_last(shape), out = (double)shape_stack(shape).rows,
           std = sqrt(c->gain / (c->fan == FAN_IN ? in : (in + out) / 2)), head = 1 / sqrt((double)b->width);
    if (role == ROLE_EMBED || role == ROLE_TABLE)
        std = c->embed > 0 ? c->embed : module_traits(b->conf->head).tied ? head : 1;
    if (role_of_branch(role)) std *= b->branch_std;
    return (struct init){ .kind = INIT_NORMAL, .std = std, .cut = c->cut };
}

const struct module init_fan = {
    .slot = SLOT_INIT, .name = "fan", .about = "as wide as keeps the size of what goes through: fan-in, Xavier",
    .conf_size = sizeof(struct conf), .params = params, .init = init,
};
