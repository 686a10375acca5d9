/* Normal draws, truncated: 1 wide for embeddings, 1 / sqrt(D) for the head, and `std` for matrices, of which those
   that write to the stream and a feed-forward's projection up are narrower by depth. As OLMo-core's llama and
   llama_depth. Where the head is tied to the embedding both are 1 / sqrt(D) wide: logits begin as large as with a head
   of its own. */
#include "model/module.h"
#include <math.h>

enum depth { MODEL, LAYER };
struct conf { double std, cut, embed; int depth; };
static const struct param params[] = {
    REAL(struct conf, std, 0.02, 1e-4, 1, "", "standard deviation of matrices"),
    OPTIONAL(struct conf, cut, 3, 10, "std", "draws beyond it are drawn again; 0: not truncated"),
    OPTIONAL(struct conf, embed, 0, 100, "",
             "standard deviation of embeddings; 0: 1, or 1 / sqrt(d_model) where they are the head too"),
    CHOICE(struct conf, depth, MODEL, "model layer",
           "narrower by sqrt(2 layers), or in layer l, counted from 0, by sqrt(2 (l + 1))"),
    { 0 }
};

static struct init init(struct build *b, struct pick self, enum role role, struct shape shape)
{
    (void)shape;
    const struct conf *c = self.conf;
    double depth = c->depth == MODEL || b->layer < 0 ? b->layers : b->layer + 1, std = c->std,
           head = 1 / sqrt((double)b->width);
    if (role == ROLE_EMBED) std = c->embed > 0 ? c->embed : module_traits(b->conf->head).tied ? head : 1;
    if (role == ROLE_HEAD) std = head;
    if (role_writes(role) || role == ROLE_FFN_UP) std /= sqrt(2 * depth);
    if (role_of_branch(role)) std *= b->branch_std;
    return (struct init){ .kind = INIT_NORMAL, .std = std, .cut = c->cut };
}

const struct module init_llama = {
    .slot = SLOT_INIT, .name = "llama", .about = "wide embeddings, what writes to the stream narrower by depth",
    .conf_size = sizeof(struct conf), .params = params, .init = init,
};
