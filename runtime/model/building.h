/* What the files of the skeleton share of a model that is being built. */
#ifndef SLUICE_BUILDING_H
#define SLUICE_BUILDING_H

#include "module.h"
#include "model.h"

struct building {
    int like;                                               /* the trunk layer whose configuration is being built */
    int pass;                                               /* how often the current layer's weights were used before */
    int depth[16], n_depth;                                 /* lengths of the path at each build_enter */
    struct picks monitors;                                  /* of the run */
    const struct observer *observer;                        /* NULL: nobody looks */
    struct division division;                               /* of the run; its mesh has what it leaves open as 0 */
    struct pick optim;                                      /* of the run; no module: there is none */
    bool needs_whole;    /* what changes weights reads whole matrices: ranks divide what they read of them alone */
    enum decode part; int part_depth; int64_t most;         /* as struct model_size has them */
    struct node *pos;                                       /* of the chunk, whichever layer is built; NULL: none */
    struct whole { int64_t seq; struct node *start, *present; } whole;       /* the trunk's rows, in an MTP block */
    const char *of;                                         /* before the names of inputs */
    struct stream fork; struct node *fork_joins;            /* what the last layer reads, for what branches off there */
    int n_kept, kept_room; struct kept { int layer; const char *name; const struct taken *of; struct node *x; } *kept;
    struct node *counted, *present_count;                   /* of which rows present_count is, REAL [1] */
    struct node *targets;   /* REAL [1]: how many of the step count, once a loss of next tokens is there; NULL before */
    struct node *loss_of_step;    /* REAL [1]: that of next tokens, where a guard asks for it */
    unsigned fp8_roles;                                     /* bits of the roles of weights with products in FP8 */
    unsigned adapted_roles;                                 /* and of those with adapters */
    struct node *joins, *joins_next;    /* [T,D]: what this layer's feed-forward, and the next one's, is joined by */
    int n_losses, loss_room; struct build_loss { const char *name; double weight; struct term value; } *loss;
    struct common { const char *name; void *memory; struct common *next; } *common;
    struct finish {
        void (*run)(struct build *b, void *state);
        void *state;
        struct build at;
        int like, pass;
        struct finish *next;
    } *finish;
    struct callback {
        void (*run)(struct build *b, void *state, struct update u);
        void *state;
        int layer;
        const char *metric_prefix;
        struct callback *next;
    } *update;
};

/* A residual's stream begins and ends; one layer on it, with the configuration of trunk layer `like`. */
struct stream build_open(struct build *b, struct pick residual, struct node *x, struct node *x0);
struct node *build_close(struct build *b, struct pick residual, const struct stream *s);
void build_layer(struct build *b, int like, struct stream *s);

/* What build_keep was given, in whichever graph it is; of tokens that are not those of b, it is an error. */
struct node *build_found(const struct build *b, int layer, const char *name);
/* "<b->path>.<name><suffix>" */
const char *build_path(struct build *b, const char *name, const char *suffix);

/* What build_finish was given, in the order in which it was. */
void build_run_finish(struct build *b);
/* Whether the weights of a role stay as they begin; whether its matrices that linear or expert_linear makes have
   adapters, and what these are kept in. */
bool build_freezes(const struct build *b, enum role role);
bool build_adapts(const struct build *b, enum role role);
enum kept_as build_kept_as(const struct build *b, enum role role);
/* An error where the adapter slot names roles that no weight has. */
void build_check_adapter(struct build *b);
/* An error where the fp8 slot names roles of which no product is, or changes none at all. */
void build_check_fp8(struct build *b);
/* Metrics of what build_loss and build_token_loss were given. */
void build_report_losses(struct build *b);

#endif
