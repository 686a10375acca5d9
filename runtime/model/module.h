/* What a module file sees: the registry's types, the builder's helpers, every op. A module is one file that
   ends in one constant struct, and one line in modules/list.h. It adds nodes and never checks for NULL: the
   graph keeps the first error. It makes matrices only through linear() and expert_linear(). */
#ifndef SLUICE_MODULE_H
#define SLUICE_MODULE_H

#include "inputs.h"
#include "graph/ops.h"

#define INPUT_NODE(name, dtype, shape, graphs) struct node *name;

/* What every builder may ask. Dimensions: T = batch * seq tokens in this graph. */
struct build {
    struct graph *graph; struct arena *arena;
    enum mode mode;
    int64_t batch, seq, tokens, width, vocab, context;      /* context: cache length in decode, else seq */
    int layers, layer;    /* trunk layers; current layer: trunk 0..L-1, MTP blocks L.., -1 outside */
    int blocks;                                             /* layers and MTP blocks together */
    const struct model_conf *conf; const struct train_conf *train;   /* train: NULL outside MODE_TRAIN */
    struct pick init, norm, position;                       /* position: of the current layer */
    bool branch_normed;    /* the residual normalises what a branch writes: no depth-scaled init */
    INPUTS(INPUT_NODE)                                      /* ids, start, ..: NULL where this mode has none */
    struct node *present_count;    /* of the tokens that are present, once it was asked for */
    int64_t d_ff, experts;    /* of the enclosing ffn: the width that "shared" multiplies, and E */
    int64_t heads, head_dim;                                /* of the enclosing attention */
    double gain_shift;    /* added to the initial gain of norms made now; 0 unless a residual says otherwise */
    struct node *targets;   /* REAL [1]: how many of the step count, once a loss of next tokens is there; NULL before */
    struct node *clip;    /* REAL [2] of clip_norm, while update callbacks run; NULL before */
    struct node *embedded_table;                            /* the token embedding's weight, for tied heads and MTP */
    struct node **sublayer_input;    /* [blocks]: normalised input of each attention, for mirrors */
    struct node *token_loss;                                /* REAL [T], set by the head; NULL before */
    struct node *logits;                                    /* REAL [T,V], set by the head in decode */
    struct callback {
        void (*run)(struct build *b, void *state);
        void *state;
        int layer;
        struct callback *next;
    } * finish, *update;
    int n_losses, loss_room; struct build_loss { const char *name; double weight; struct term value; } *loss;
    char path[256]; int depth[16], n_depth;                 /* of weights made now: "layers.3.attention" */
};

/* A part of the model handed to a module that decides what surrounds it. */
struct sublayer {
    struct node *(*build)(struct build *b, const void *context, struct node *u);
    const void *context;
    const char *name;
};
struct kv { struct node *k, *v; };
struct projector { struct kv (*build)(struct build *b, const void *context, struct node *from); const void *context; };

struct routing {
    int experts, k;
    struct node *logits;                                    /* REAL [T,E] */
    struct node *score;                                     /* REAL [T,E], unbiased: softmax or sigmoid */
    struct node *dense;    /* REAL [T,E], score with rows that sum to 1: P of the balance losses */
    struct node *index, *gate;                              /* I32, REAL [T,K] */
    struct node *counts;                                    /* I32 [E], set by dispatch */
};
/* What an update of the update region goes by: the learning rate and number of the step, REAL [1]; clip, REAL [2]. */
struct pace { struct node *lr, *step, *clip; };
struct dispatched { struct node *rows, *offsets, *order, *place; };  /* rows [R,D]; see ops dispatch, gather, combine */

struct module {
    enum slot slot; const char *name, *about;
    size_t conf_size; const struct param *params;
    bool branch_normed;                                     /* residual: see struct build */
    /* Rules between parameters, and against the model; one problem for each. Optional. path is
       the module's key path. */
    void (*check)(const void *conf, const struct model_conf *model, const char *path, struct problems *problems);
    /* One of these, by slot. */
    struct init  (*init)(struct build *b, const void *conf, enum role role, struct shape shape);
    /* [T,D] of the token `ahead` positions later */
    struct node *(*embed)(struct build *b, const void *conf, int ahead);
    struct node *(*position)(struct build *b, const void *conf, struct node *x);                    /* q or k [T,H,W] */
    struct node *(*norm)(struct build *b, const void *conf, const char *name, struct node *x);
    struct node *(*residual)(struct build *b, const void *conf, struct node *x, struct sublayer f);
    bool         (*ends_normed)(const void *conf);   /* slot residual, optional: no final norm follows the last block */
    struct node *(*attention)(struct build *b, const void *conf, struct node *u);                   /* [T,D] -> [T,D] */
    int64_t      (*mask)(struct build *b, const void *conf);    /* window; 0: all of the past */
    struct kv    (*kv)(struct build *b, const void *conf, struct node *u, struct projector project);
    struct node *(*qk_norm)(struct build *b, const void *conf, const char *which,
                            struct node *x);                /* which: "q" or "k" */
    struct node *(*gate)(struct build *b, const void *conf, struct node *u, struct node *heads);    /* heads [T,H,W] */
    struct node *(*ffn)(struct build *b, const void *conf, struct node *u);
    struct routing (*router)(struct build *b, const void *conf, struct node *u, int experts, struct picks balance);
    /* optional: changes the selection key */
    struct node *(*balance_key)(struct build *b, const void *conf, struct node *key);
    void         (*balance)(struct build *b, const void *conf, const struct routing *r);    /* losses, state updates */
    struct dispatched (*dispatch)(struct build *b, const void *conf, struct node *u, struct routing *r);
    struct node *(*shared)(struct build *b, const void *conf, struct node *u,
                           struct node *routed);            /* routed + shared(u) */
    void         (*head)(struct build *b, const void *conf, struct node *h);
    void         (*mtp)(struct build *b, const void *conf, struct node *h, struct node *head_weight);
    int          (*mtp_blocks)(const void *conf);           /* slot mtp: how many blocks it adds */
    /* one weight's update, REAL [2] as op adamw's; conf has a parameter "lr" */
    struct node *(*optim)(struct build *b, const void *conf, struct node *w, struct node *grad, struct pace pace);
    double       (*schedule)(const void *conf, int64_t step, int64_t steps);    /* factor on lr, step from 0 */
    /* slot schedule, optional: the last step before it decays, warm-up or not */
    int64_t      (*peak_ends)(const void *conf, int64_t steps);
};

extern const struct module *const module_all[];             /* ends in NULL */
const struct module *module_find(enum slot slot, const char *name);

/* For check: the field of a parameter in the configuration of a slot; NULL: the module there has no such parameter. */
const void *module_value(struct pick pick, const char *name);
/* Whether a choice of the module in a slot has been set to `word`. */
bool module_chose(struct pick pick, const char *name, const char *word);
/* Adds a problem whose path is "<path>.<key>". */
void module_problem(struct problems *p, const char *path, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Path of the weights and layer-wise metrics made between enter and leave. */
void build_enter(struct build *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void build_leave(struct build *b);

/* The initial values that the init slot gives a matrix. */
static inline struct init build_init(struct build *b, enum role role, struct shape shape)
{
    return b->init.module->init(b, b->init.conf, role, shape);
}

/* x W^T: W is [out, shape_last(x)], initialised by the init slot, at path "<b->path>.<name>.weight". ACT out; REAL
   for ROLE_ROUTER and ROLE_GATE (scores are never below float32). x of rank 3 is read as [T, rest]. */
struct node *linear(struct build *b, const char *name, enum role role, struct node *x, int64_t out);
/* The same for E stacked matrices [E, out, in] over expert rows. active: share of the stack that a token uses. */
struct node *expert_linear(struct build *b, const char *name, enum role role, const struct dispatched *d,
                           struct node *rows, int64_t out, int experts, double active);
/* A gain vector (ones or zeros), a table, or another weight that is no linear. */
struct node *build_weight(struct build *b, const char *name, enum role role, struct shape shape, struct init init);
struct node *build_buffer(struct build *b, const char *name, enum dtype dtype, struct shape shape, double value);

/* The model's norm slot. */
struct node *build_norm(struct build *b, const char *name, struct node *x);
/* The position slot of the current layer. */
struct node *build_position(struct build *b, struct node *x);
/* One block (both residual sublayers) built with the configuration of trunk layer `like`, as layer b->layer. */
struct node *build_block(struct build *b, int like, struct node *x);
/* Of x [B*S',..] the rows that the sequences of b have, the first b->seq of each: MTP blocks have
   fewer than the trunk. */
struct node *build_rows(struct build *b, struct node *x);
/* x, of T rows, with `value` in those that only fill up a batch of an evaluation; elsewhere there are
   none, and it is x itself. */
struct node *build_present(struct build *b, struct node *x, double value);
/* REAL noise of the shape of `like` [T,..], drawn anew for each token of each step; NULL outside training, where
   nothing is noisy. Its bits follow from the run's seed, the token's place in the run, column, path and name: a name is
   used once at a path. */
struct node *build_noise(struct build *b, const char *name, struct node *like, enum noise_kind kind);
/* In decode: writes x [T,..] into a cache buffer and gives the whole of it; otherwise x itself. window: the positions
   that are read back, as a mask gives them; 0: all. */
struct node *build_cached(struct build *b, const char *name, struct node *x, int64_t window);

/* A metric of the current layer, or of the model when b->layer is -1: an HDF5 dataset with a unit. Mean over the
   micro-batches unless said otherwise. Never changes what is computed. Only in train and eval. */
void build_metric(struct build *b, const char *name, struct node *value, const char *unit, enum better better,
                  const char *about);
void build_metric_as(struct build *b, const char *name, struct node *value, const char *unit, enum carry how,
                     enum better better, const char *about);
/* A mean over the T rows of a micro-batch to which those that are not present added 0 (build_present): also over the
   rows of all micro-batches, in an evaluation of those that are there, however it is cut. Likewise the root mean
   square of x, of T rows. */
void build_row_metric(struct build *b, const char *name, struct node *value, const char *unit, enum better better,
                      const char *about);
void build_rms_metric(struct build *b, const char *name, struct node *x, const char *unit, enum better better,
                      const char *about);
/* The mean of x [T] over the tokens that count, those whose next `ahead` + 1 tokens are there: of all tokens of a step
   (or an evaluation) together, however its batch is cut. */
void build_token_metric(struct build *b, const char *name, struct node *x, int ahead, const char *unit,
                        enum better better, const char *about);
/* A term of the objective, REAL [1]: of the micro-batch, as build_row_metric's value; the mean over micro-batches and
   ranks. Also a metric "loss_<name>" (summed over layers). */
void build_loss(struct build *b, const char *name, struct node *value, double weight);
/* The same of x [T], averaged as build_token_metric does. */
void build_token_loss(struct build *b, const char *name, struct node *x, int ahead, double weight);
/* Runs after the head, in the micro region, where token_loss can be read; the first registered runs first. */
void build_finish(struct build *b, void (*run)(struct build *b, void *state), void *state);
/* Runs in the update region after the optimizer, with b->layer as it was when registered; b->clip tells whether the
   step counts. Never called outside MODE_TRAIN. */
void build_update(struct build *b, void (*run)(struct build *b, void *state), void *state);
/* The control "lr": lr times the schedule's factor of the step. REAL [1]. */
struct node *build_rate(struct build *b, double lr);
/* An optimizer's `decay` where it is for this weight, else 0; gains: whether it is for gains too. */
static inline double build_decay(const struct node *w, double decay, bool gains)
{
    return role_rule[w->leaf->role].exempt && !(gains && w->leaf->role == ROLE_GAIN) ? 0 : decay;
}
/* An optimizer's memory of a weight, of its shape, zero at first. */
struct node *build_moment(struct build *b, const char *which, const struct node *w);

#endif
