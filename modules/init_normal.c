/* Normal draws of one width for every matrix and table, truncated (OLMo 2). What writes into an un-normalised
   residual stream is narrower by sqrt(2L), so that the stream's variance does not grow with depth (GPT-2). */
#include "model/module.h"
#include <math.h>

struct conf { double std, cut; int depth_scale; };
static const struct param params[] = {
    REAL(struct conf, std, 0.02, 1e-4, 1, "", "standard deviation"),
    OPTIONAL(struct conf, cut, 3, 10, "std", "draws beyond it are drawn again; 0: not truncated"),
    BOOL(struct conf, depth_scale, true, "divide by sqrt(2 layers) where a branch writes to an un-normalised residual"),
    { 0 }
};

static struct init init(struct build *b, struct pick self, enum role role, struct shape shape)
{
    (void)shape;
    const struct conf *c = self.conf;
    double narrow = c->depth_scale && role_writes(role) && !b->branch_bounded ? sqrt(2.0 * b->layers) : 1,
           std = role_of_branch(role) ? c->std * b->branch_std : c->std;
    return (struct init){ .kind = INIT_NORMAL, .std = std / narrow, .cut = c->cut };
}

const struct module init_normal = {
    .slot = SLOT_INIT, .name = "normal", .about = "truncated normal, branch outputs scaled by depth",
    .conf_size = sizeof(struct conf), .params = params, .init = init,
};
