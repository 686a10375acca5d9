/* What the routers of a trained model do with held-out text: which experts each token goes to, at which gates, and by
   how much. The graph is that of an evaluation, the tokens are the first that one measures: a fixed probe, the same for
   all checkpoints of a run. Training graphs hold none of this. */
#ifndef SLUICE_ROUTES_H
#define SLUICE_ROUTES_H

#include "checkpoint.h"
#include "study/study.h"
#include "train.h"

/* Of one router, a row a token. */
struct route {
    char name[16]; int layer;                               /* what it is in: "ffn" */
    int experts, idle, top_k, k;                            /* can be chosen; of them compute nothing; the router's;
                                                               columns of index */
    bool keyless, largest_keys;                             /* the key decides nothing; it alone decides, by token */
    int64_t rows;
    int32_t *at;                                            /* [rows]: its place in the probe's windows */
    int32_t *index;                                         /* [rows,K] as selected, -1: no expert */
    float *gate;                                            /* [rows,K] */
    int32_t *first;    /* [rows]: the chosen one with the largest key; keyless: the first; -1: none is chosen */
    float *margin, *edge;    /* [rows]: smallest chosen key less the largest other, and itself; NaN: keys do not say */
    int64_t *written;    /* [experts]: rows that each expert wrote; idle ones none */
    double *output_square;    /* [experts]: mean square of what is in them, before gates */
    double *weight_norm;    /* [experts]: Frobenius norm of the expert's matrices together; idle ones 0 */
    double score_high, score_low;    /* shares of all scores above 0.99, below 0.01 */
    double down_cosine, row_cosine;    /* mean over pairs of experts: of their projections down; of rows of the router;
                                          NaN: there are none */
};
struct routes { int64_t step, tokens; int n; struct route *route; int32_t *id, *target; bool bytes; double loss; };

/* id, target: of the probe's windows, what fills them up too; target -1 where the next token is another document's, or
   does not count. bytes: that is what tokens are. tokens: that are there. loss: of the probe. */
void routes_free(struct routes *r);

/* Of a row whose choices are there, what its keys [E] say: first, margin, edge. taken: [E] of false, for work. */
void routes_judge(struct route *r, int64_t row, const double *key, bool *taken);

struct routes_of;
/* tokens: at most so many of the held-out split, 0: all. -1: there is no text, no memory. */
int routes_open(struct routes_of **out, const json_t *config, const struct corpus *c, int64_t tokens, struct err *e);
void routes_close(struct routes_of *o);
int routes_routers(const struct routes_of *o);              /* how many the model has */
/* Of a checkpoint, or of the weights as a run with this seed begins (path NULL). */
int routes_read(struct routes_of *o, const char *path, uint64_t seed, struct routes *out, struct err *e);
/* With what was read last, of other text's held-out split. */
int routes_elsewhere(struct routes_of *o, const struct corpus *c, int64_t tokens, struct routes *out, struct err *e);
/* With what was read last: mean over batches of the probe by how much, in nat, the loss of the first half of their
   windows changes when the tokens of the second half are others. 0 of a causal model. */
double routes_leak(struct routes_of *o);
/* Loss of the probe with what was read last, each token's `closed` best experts closed to it in all layers; NaN where
   so many are not left to choose from. */
int routes_without(struct routes_of *o, int closed, double *loss, struct err *e);

#endif
