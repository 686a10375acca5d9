/* After each step every vector of a matrix that meets the residual stream is made as long as 1: rows of what reads it,
   of embeddings and the head, columns of what writes to it. nGPT (Loshchilov 2024, arXiv 2410.01131), of which this is
   the weights' part; norms and their gains stay as the model has them. Matrices should begin about as long: init =
   "fan". Weight decay has nothing left to do: train.optim.decay = 0. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct node *w, struct update u)
{
    (void)self;
    enum role role = w->leaf->role;
    bool writes = role_writes(role),
         reads = role == ROLE_EMBED || role == ROLE_HEAD || role == ROLE_Q || role == ROLE_K || role == ROLE_V ||
                 role == ROLE_GATE || role == ROLE_FFN_GATE || role == ROLE_FFN_UP || role == ROLE_ROUTER ||
                 role == ROLE_LATENT_DOWN;
    if ((writes || reads) && w->shape.rank > 1) unit_norm(b->graph, w, u.clip, writes);
}

const struct module constraint_unit_norm = {
    .slot = SLOT_CONSTRAINT, .name = "unit_norm", .about = "vectors of matrices along the stream have length 1 (nGPT)",
    .constrain = build,
};
