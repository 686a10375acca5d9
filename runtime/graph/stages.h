/* Stages of a pipeline: consecutive layers, each stage on one rank of the pipeline. What is read across stages is not
   asked for here: plans find it. */
#ifndef SLUICE_STAGES_H
#define SLUICE_STAGES_H

#include "graph.h"

/* Gives every node of the micro-batch its stage, and every weight its home, the rank that has the stage in which it is
   read, if that is one. The first graph of a set decides which layers a stage has, so that all cost about the same. */
void graph_stages(struct graph *g);
/* Nodes of the update read weights of one home at most, but for those that take any number: gives them that home. */
void graph_homes(struct graph *g);

#endif
