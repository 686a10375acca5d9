/* How ranks divide a model and its batches: along axes, whose sizes multiply to the number of ranks. Ranks that differ
   by one lie side by side on the first axis, so that those that tell each other most are near. */
#ifndef SLUICE_MESH_H
#define SLUICE_MESH_H

#include "base.h"

/* What ranks along an axis divide: TP heads of attention and the width of dense feed-forwards (tensor parallel), CP
   the tokens of each sequence (context parallel), EP experts, and the sequences of a batch (expert parallel), among
   ranks of a node, NODES the same among nodes, DP the sequences of a batch (data parallel), SIDE the micro-batches of
   a pipeline that runs both ways, PP layers (pipeline): where there are two sides, the first half of a pipeline's
   ranks is one and the second, from its end on, the other, so that ranks along SIDE are as far from either end and
   have the same layers. */
#define AXIS_LIST(X) \
    X(TP, "tp") X(CP, "cp") X(EP, "ep") X(NODES, "nodes") X(DP, "dp") X(SIDE, "side") X(PP, "pp")
#define AXIS_ENUM(upper, ...) AXIS_##upper,
enum axis { AXIS_LIST(AXIS_ENUM) AXES };
extern const char *const axis_name[AXES];

/* Sets of axes. EP: those along which experts are divided, NEAR: within a node. Sequences, data: those along which
   ranks have other sequences, see other tokens. Pipeline: those that are one together. */
enum {
    OVER_TP = 1u << AXIS_TP,
    OVER_CP = 1u << AXIS_CP,
    OVER_NEAR = 1u << AXIS_EP,
    OVER_NODES = 1u << AXIS_NODES,
    OVER_DP = 1u << AXIS_DP,
    OVER_SIDE = 1u << AXIS_SIDE,
    OVER_PP = 1u << AXIS_PP,
    OVER_EP = OVER_NEAR | OVER_NODES,
    OVER_SEQUENCES = OVER_EP | OVER_DP,
    OVER_DATA = OVER_CP | OVER_SEQUENCES,
    OVER_PIPELINE = OVER_SIDE | OVER_PP,
    OVER_ALL = OVER_DATA | OVER_TP | OVER_PIPELINE
};

struct mesh { int size[AXES]; };                            /* 0 is 1 */
/* A rank among others. All zero: it is alone. */
struct place { struct mesh mesh; int rank; };

int mesh_ranks(const struct mesh *m);
/* Those that differ from this one along some axes alone: how many they are, this one among them, and the rank of number
   i, in the order of ranks. */
int place_group(const struct place *p, unsigned over);
int place_index(const struct place *p, unsigned over);
int place_member(const struct place *p, unsigned over, int i);
/* A rank's place along its pipeline, and the rank that has one. */
int place_along(const struct place *p);
int place_at(const struct place *p, int along);
const char *mesh_text(const struct mesh *m, char out[64]);    /* "dp2.ep4", of those beyond 1; "1" */

#endif
