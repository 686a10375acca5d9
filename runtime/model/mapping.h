/* What a model's weights are made of that begins with another's, the donor's: a rule for each tensor, which a module of
   slot `map` gives. Shapes alone are known here; the values come when a run begins. */
#ifndef SLUICE_MAPPING_H
#define SLUICE_MAPPING_H

#include "conf.h"
#include "graph/graph.h"

/* What init.from says. run: a variant of the study, or a run, variant or file elsewhere; step 0: its last; replicate
   -1: the one of the same number. fresh: patterns of weights that begin as those of a new model; left: of the donor's
   that have no place here. */
struct start {
    const char *run, *fresh, *left;
    int step, replicate, average;
    struct pick map, rest;
};
const struct start *model_start(const struct model_conf *conf);       /* NULL: it begins with draws alone */
/* Of a donor of n layers, the one that each of a model's layers is a copy of; of.n 0: e says why it is none. */
struct ints start_layers(const struct start *s, int n, struct arena *a, struct err *e);

struct donated { const char *path; struct shape shape; enum kept_as kept; };
/* What experts may be judged by: assignments that each got in the donor's last evaluation, or step where it had none;
   the norm of its weights. */
enum judged { EXPERT_LOAD, EXPERT_NORM };
struct donor {
    int n, layers;
    struct donated *tensor;
    /* Of each of n experts in a layer's feed-forward; NULL: e says why there is none. No function: it is not known
       before a run begins. */
    const double *(*judge)(const struct donor *d, enum judged by, int layer, int64_t n, struct err *e);
    void *values;                                           /* what it reads */
};

/* Of a tensor as a stack of E matrices [R,C]; a matrix is a stack of one, a vector a matrix of one row. Value (e,r,c)
   is `by` times the donor's (matrix[e], row[e R + r], column[e C + c]), NULL: e, r, c themselves. In row or column
   PLACE_DRAWN: drawn, as wide as the donor's values are; PLACE_NONE: this part adds nothing. from NULL: the tensor's
   own draws take the donor's place. per_expert: a matrix is a stack of rows, one for each expert, and a vector one of
   numbers. uneven: where a column of the donor comes to several places, of which `by` has made parts, they differ by
   draws of this share, which cancel out. */
enum { PLACE_DRAWN = -1, PLACE_NONE = -2 };
struct donation {
    const struct donated *from;
    const int32_t *matrix, *row, *column;
    double by, uneven;
    bool per_expert;
};
/* A sum of parts, no part: zeros. drawn: it begins as that of a new model. how: in a few words, NULL: as it is. */
struct made { bool drawn; int n; const struct donation *part; const char *how; };

/* Whether a tensor is the model's own, which outlives a step: neither what training adds nor what decoding fills. */
static inline bool leaf_is_own(const struct leaf *l)
{
    return !l->of && (l->kind == LEAF_WEIGHT || (l->kind == LEAF_BUFFER && l->decl.dtype == DTYPE_REAL &&
                                                 !l->transient && !l->of_update && !l->of_training));
}

/* Of an adapter, which a model without adapters does not have. */
static inline bool leaf_is_factor(const struct leaf *l) { return l->role == ROLE_LORA_A || l->role == ROLE_LORA_B; }

struct mapping {
    struct arena *arena;
    const struct model_conf *model; const struct start *start; const struct donor *donor;
    const struct leaves *leaves;
    uint64_t seed;                                          /* of what a map draws */
    struct ints of;                                         /* the donor's layer that each of the model's comes from */
    int n; const struct leaf **leaf; struct made *made;               /* what results: one a tensor of the model */
    struct err err; bool failed;                                          /* the first mistake */
};

/* Finds what all are made of; -1: m->err says what does not fit. */
int mapping_make(struct mapping *m, const struct leaves *leaves);
/* A line for each group of tensors that are alike but for their layer; of: the donor's layers, where they are not those
   of the same numbers. */
struct mapping_line { const char *name, *from, *how, *of; int layers; bool moved; struct shape shape; };
int mapping_lines(const struct mapping *m, struct mapping_line **lines);    /* returns how many; of the arena */

/* ---- for modules of slot `map` ---- */

struct stack stack_of_experts(struct shape shape);          /* a matrix, or a row, or a number of each expert */
const struct donated *donor_find(const struct donor *d, const char *path);            /* NULL: it has no such tensor */
struct made mapping_fail(struct mapping *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The layer of a path "layers.N.REST", and in *rest what follows; -1: it has none. */
int path_layer(const char *path, const char **rest);
const char *path_in_layer(struct mapping *m, const char *path, int layer);            /* the same in another layer */
/* The tensor of this path as it is. A buffer that the donor has not is drawn, as a new model's. */
struct made mapping_as(struct mapping *m, const struct leaf *l, const char *path, const char *how);
/* The tensor of the same name in the layer that its own comes from. identity: where that has occurred before, what its
   branches write with is zero. */
struct made mapping_layer(struct mapping *m, const struct leaf *l, bool identity);
struct made mapping_of(struct mapping *m, const char *how, int n, const struct donation *part);
int32_t *mapping_places(struct mapping *m, int64_t n);                                /* room for a table of a part */

/* A tensor with a place for each expert of its layer's feed-forward, of which model and donor have other numbers: what
   the donor has of it, experts that compute, how wide they are, and all places: those of idle ones are behind. But for
   these numbers and widths both are of one shape. */
struct expert_stacks { const struct donated *from; int layer; int64_t own, its, own_width, its_width, places; };
bool mapping_expert_stacks(const struct mapping *m, const struct leaf *l, struct expert_stacks *out);
/* What such a tensor is multiplied by where `parts` equal experts, chosen together, take the place of one, so that the
   function stays: where scores compete or gates are normalised each part gets 1 / parts of the gate, which `down` makes
   up for. */
double mapping_parted(const struct mapping *m, const struct leaf *l, int layer, int64_t parts);

#endif
