/* The graph that a configuration trains with, for what is asked of it before anything runs. */
#ifndef SLUICE_TRAINING_GRAPH_H
#define SLUICE_TRAINING_GRAPH_H

#include "model.h"

struct training_graph {
    struct arena *arena; struct leaves *leaves; struct graph *graph;
    struct model_conf model; struct train_conf train;
};
/* Of a micro-batch, with updates. config: {"model": ..., "train": ...}. To be freed also where it failed; one that is
   all 0 has nothing to free. */
int training_graph_build(struct training_graph *t, const json_t *config, struct err *e);
void training_graph_free(struct training_graph *t);

#endif
