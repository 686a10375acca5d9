/* Replayed choices: a token's experts are those that another run chose for it, as study key `choices` says which; the
   router's scores are gates alone, so that two runs differ in something else with their routing held still. Choices
   that were none in the record (-1) are none here. Sampling has no record: there the largest keys are chosen. Ma 2025
   (R3, arXiv 2510.11370) replays so, for the routing of one program in another. */
#include "model/module.h"

static void build(struct build *b, struct pick self, struct routing *r)
{
    (void)self;
    struct node *index = build_choices(b, r->k);
    r->index = index ? index : topk(b->graph, r->key, r->k);                                    /* [T,K] */
}

static void traits(struct pick self, struct traits *t) { (void)self; t->keyless = t->uneven = true; }

const struct module select_replayed = {
    .slot = SLOT_SELECT, .name = "replayed",
    .about = "the experts that another run chose, which the study's choices names",
    .traits = traits, .select = build,
};
