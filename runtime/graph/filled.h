/* Of the rows for which ranks have room at their experts, those that come: as many as a rank sends, where experts are
   chosen evenly. */
#ifndef SLUICE_FILLED_H
#define SLUICE_FILLED_H

#include "graph.h"

/* Of tensors with `room` rows, `rows` come. Room 0: the node has nothing of experts of other ranks. */
struct filled { int64_t room, rows; };
struct filled *graph_filled(const struct graph *g);         /* by the number of a node; malloc'd */

/* What of a tensor there is; of a node's arithmetic. */
static inline double filled_share(struct filled f, struct shape s)
{
    return f.room > 0 && s.rank > 0 && s.dim[0] == f.room ? (double)f.rows / (double)f.room : 1;
}
double filled_work(struct filled f, const struct node *n);

#endif
