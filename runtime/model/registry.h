/* The registry: what a module is. A module is one file that ends in one constant struct, and one line in
   modules/list.h. It includes module.h alone, and builds with what build.h and graph/ops.h offer. */
#ifndef SLUICE_REGISTRY_H
#define SLUICE_REGISTRY_H

#include "build.h"
#include "mapping.h"

#include <math.h>

/* What the size of an optimizer's step goes by. Even: a value moves by about the rate, whatever its gradient is.
   Spectral: a step of a hidden matrix has the spectral norm sqrt(rows / columns) times the rate, and routers and all
   else move evenly. */
enum stepping { STEPPING_UNKNOWN, STEPPING_EVEN, STEPPING_GRADIENT, STEPPING_SPECTRAL };

/* What a gate comes to where all experts score alike: `gate_level`, that over the number of those a token chooses, or
   over that of all. */
enum gate_over { GATE_ALONE, GATE_OVER_CHOSEN, GATE_OVER_ALL };

/* What a module says of itself, to the checks of others, to `plan` and `compare`. The traits of a slot's module are
   its own and those of what fills its slots. */
struct traits {
    enum ahead looks_ahead;                                 /* when a position may see later ones; see looks_ahead */
    bool branch_bounded;    /* residual: what a branch writes is normalised, or made smaller by depth */
    bool ends_normed;                                       /* residual: no final norm follows the last block */
    bool reads_past;    /* residual: what the stream was before, and keeps it and its own beside the stream */
    int streams;                                            /* residual: how many it keeps; 0: one */
    bool joins_next;    /* block: what it makes is added in the next layer */
    double takes;    /* block: share of a sequence's tokens that it takes out, one at least; 0: sequences stay whole */
    bool gated;                                             /* activation: it has a second operand */
    int heads, kv_heads, qk_dim, v_dim;                     /* attention: numbers of heads, their widths */
    int rotated;                                            /* of a head, what positions rotate; 0: none */
    int latent;    /* attention: width of what keys and values are made of, and kv keeps; 0: kv keeps them themselves */
    double sharpness;                                       /* position: factor on attention's logits; 0: 1 */
    bool names;    /* keys: an index names them by position, so that caches keep all, whatever the mask */
    int index_rotated;                                      /* keys: of a head of its indexer, likewise */
    int window, chunk;                                      /* mask: as struct mask */
    bool divides;    /* attention: ranks can divide its heads (tensor parallel) */
    bool norms_all;                                         /* qk_norm: over the heads of a token, not each by itself */
    bool clips;    /* attention: in training it makes weights of queries and keys smaller, beside the optimizer */
    bool tied;    /* head: its matrix is the embedding's */
    bool normed_q, normed_k;                                /* qk_norm: queries, keys have no length of their own */
    bool norms_rotated;                                     /* qk_norm: comes behind the position */
    bool first_values;    /* value: where an earlier layer has values, this one reads them and makes none */
    bool convolved;    /* attention: its queries, keys and values pass the conv slot */
    int gated_at;                                           /* gate: where, enum gated */
    bool others_keys;                                       /* kv: keys may be another layer's */
    bool of_others;    /* kv, value, keys: another layer's keys, values or choices of the same tokens are read */
    int idle;    /* ffn: of its experts the last ones, which compute nothing */
    int top_k; bool gates_sum_to_one;                       /* router */
    double gate_level; enum gate_over gate_over;            /* router; 0: not known */
    bool competing;    /* router: the scores of a token sum to 1 */
    bool hidden_gates;    /* router: gates are factors on what the last product of an expert reads */
    bool even_gates;    /* router: gates are the same for all who were chosen, whatever their score */
    bool has_zeros;    /* router: scores may be 0, and do not sum to 1 */
    bool unscored;                                          /* logits: they say nothing, and no weight makes them */
    bool uneven;    /* anneal, select, revise, dispatch: a token may have more or fewer than top_k */
    bool keyless;                                           /* select: the key decides nothing */
    bool balanced;    /* select: keeps the load even in training, whatever is added to all keys of an expert */
    bool of_batch;    /* select, revise: in training a choice depends on other sequences of the micro-batch */
    int most_k, cap;    /* select: the largest top_k; most experts that a token can have where experts choose; 0: any */
    bool normal_noise, of_choice;    /* noise: normal, and struct noisy tells its spread; gates have none of it */
    bool learned, drawn;    /* noise: gates teach it its spread; struct noisy tells what experts are drawn by */
    int most;    /* select: experts that a token may have, those with a score above 0; 0: top_k */
    bool largest_keys;    /* select: of each token the top_k largest keys, whatever other tokens have */
    bool tiled;                                             /* revise: an expert's tokens are a multiple of a tile */
    bool adds;    /* revise: tokens may go to experts that they did not choose */
    int groups, group_limit;    /* select: runs of experts, and how many of them a token may go to; 0: no groups */
    bool of_scores;    /* balance: a loss on scores, gates, or the weights that make them */
    bool trains;    /* balance: its gradient reaches the router's logits, whatever gates are */
    bool rewards;    /* balance: its gradient tells the router how good its choice was, as that of gates does */
    bool of_gates;    /* balance: a loss on gates alone */
    bool asks_zeros;    /* balance: makes scores 0 */
    bool asks_draws;    /* balance: how likely the choice was that was drawn */
    bool asks_noise;    /* balance: how likely another draw of normal noise had changed the choice */
    bool by_groups;    /* shared: goes by groups of the experts that a token chose */
    bool alone;    /* balance: keeps the load even by the logits that choose, and beside no other rule */
    double computed;    /* balance: of its experts a token is to have so many that are not idle; 0: it has no aim */
    int expert_groups;    /* balance: equal groups that experts are divided into; 0, 1: none */
    int mtp_blocks;                                         /* blocks that MTP adds */
    const struct start *start;    /* init: with whose weights the model begins; NULL: with draws alone */
    const char *watched;    /* monitors: which weights it is shown, a pattern of their names; NULL: none */
    int averages_from, guards_from;                         /* average, guard: as set */
    const char *averages_by;                                /* average: the parameter that says it */
    bool goes_back;    /* guard: after an outlier the run goes on with the state of a checkpoint */
    bool paced;                                             /* optimizer: decay and momentum may change over a run */
    enum stepping stepping;                                 /* optimizer: what its steps go by */
    const char *steps_if;    /* of one that is unknown as it is set: what would make it known; NULL: nothing */
    bool elementwise;    /* optimizer: what it does to a value goes by its own gradients alone */
    bool averages;    /* optimizer: keeps the averages of weights that evaluation reads */
    bool jumps;                                             /* schedule: from one step to the next by more than a bit */
    int symbols, length;    /* task: ids beside those that all tasks share; most tokens of a sample but the first */
    int samples, held_out;                                  /* task: how many there are; 0: any number */
};

/* Says when a position may see later ones; what says the most has the last word. Always: losses are no causal model's,
   and there is no sample. */
static inline void looks_ahead(struct traits *t, enum ahead when) { if (when > t->looks_ahead) t->looks_ahead = when; }

/* What a parametrization does to a weight: factors on its initial values, on the logits that it says, on its learning
   rate, and on what an optimizer adds to a root. model: how many times wider the model is than the one for which rate
   and initial values are meant; wider: likewise what the weight reads. */
struct scaling { double model, wider, init, logits, rate, eps; };
/* Of a weight of so many inputs. */
struct scaling model_scaling(const struct model_conf *model, enum weight_reads reads, int64_t inputs,
                             enum stepping stepping);

struct sampled;
struct item;

struct module {
    enum slot slot; const char *name, *about;
    size_t conf_size; const struct param *params;
    /* Rules between parameters, and against the model; one problem for each. Optional. path is
       the module's key path. */
    void (*check)(struct pick self, const struct model_conf *model, const char *path, struct problems *problems);
    void (*traits)(struct pick self, struct traits *t);     /* optional: sets what it has to say */
    /* What it does, by slot. */
    union {
        struct init  (*init)(struct build *b, struct pick self, enum role role, struct shape shape);
        struct {
            /* what a tensor of the model is made of */
            struct made (*map)(struct mapping *m, struct pick self, const struct leaf *l);
            /* optional: a map of other depth, in which each layer is a copy of one of the donor's, of which there are
               n */
            struct ints (*layers)(struct arena *a, struct pick self, int n);
        };
        /* optional: without it all factors are 1 */
        struct scaling (*scaling)(struct pick self, const struct model_conf *model, enum weight_reads reads,
                                  int64_t inputs, enum stepping stepping);
        /* [T,D] of the token `ahead` positions later */
        struct node *(*embed)(struct build *b, struct pick self, int ahead);
        struct {
            struct node *(*position)(struct build *b, struct pick self, struct node *x);        /* q or k [T,H,W] */
            /* optional: added to the logits of the R nearest keys, [T,H,R] by query head and distance */
            struct node *(*bias)(struct build *b, struct pick self, struct node *u, int64_t heads);
            /* optional: undoes it */
            struct node *(*position_back)(struct build *b, struct pick self, struct node *x);
        };
        struct node *(*norm)(struct build *b, struct pick self, const char *name, struct node *x,
                             double gain);                  /* gain: the initial one */
        struct {
            void (*residual)(struct build *b, struct pick self, struct stream *s, struct sublayer f);
            void (*open)(struct build *b, struct pick self, struct stream *s);    /* optional */
            struct node *(*close)(struct build *b, struct pick self, const struct stream *s);   /* optional: [T,D] */
        };
        /* [T,D] for each stream of s, or [T,n,D]; NULL: nothing */
        struct node *(*memory)(struct build *b, struct pick self, const struct stream *s);
        struct node *(*ple)(struct build *b, struct pick self, struct node *x);     /* the same, of the block's end */
        void         (*block)(struct build *b, struct pick self, struct stream *s);
        struct node *(*conv)(struct build *b, struct pick self, enum conv_at at, struct node *x);       /* [T,..] */
        struct node *(*attention)(struct build *b, struct pick self, struct node *u);           /* [T,D] -> [T,D] */
        struct mask  (*mask)(struct build *b, struct pick self);
        struct node *(*keys)(struct build *b, struct pick self, const struct attending *a);       /* of op attention */
        struct kv    (*kv)(struct build *b, struct pick self, struct node *u, struct projector project);
        struct node *(*value)(struct build *b, struct pick self, struct node *u, struct node *v);   /* v [T,G,W] */
        struct node *(*qk_norm)(struct build *b, struct pick self, const char *which,
                                struct node *x);            /* which: "q", "k" or "v"; [T,H,W] */
        struct node *(*temperature)(struct build *b, struct pick self);     /* of queries, REAL [T,1]; NULL: 1 */
        /* x as `at` says; v [T,G,W]: values of these tokens, of heads alone */
        struct node *(*gate)(struct build *b, struct pick self, enum gated at, struct node *u, struct node *x,
                             struct node *v);
        /* log of what a token keeps of each memory, REAL [T,heads], or of each of its rows, REAL [T,heads,width] */
        struct node *(*decay)(struct build *b, struct pick self, struct node *u, int64_t heads, int64_t width);
        struct {                                            /* around attention's heads */
            struct queries (*queries)(struct build *b, struct pick self, struct node *u, struct heads h);
            /* heads [T,K H,W] -> [T,D] */
            struct node *(*output)(struct build *b, struct pick self, const struct queries *q, struct node *heads);
        };
        struct node *(*ffn)(struct build *b, struct pick self, struct node *u);
        struct node *(*activation)(struct build *b, struct pick self, struct node *up,
                                   struct node *gate);      /* gate: NULL unless its trait is gated */
        struct routing (*router)(struct build *b, struct pick self, struct node *u, int experts, struct picks balance);
        struct node *(*logits)(struct build *b, struct pick self, struct node *u, int experts);    /* REAL [T,E] */
        struct {
            void (*balance)(struct build *b, struct pick self, const struct routing *r);    /* losses, state updates */
            /* optional: changes the selection key */
            struct node *(*balance_key)(struct build *b, struct pick self, const struct routing *r);
        };
        /* optional; in training alone. k: top_k of the router */
        struct anneal (*anneal)(struct build *b, struct pick self, int k);
        struct {                                            /* both optional; outside training nothing is noisy */
            struct noisy (*noise)(struct build *b, struct pick self, struct node *u, struct node *logits);
            /* what the router reads for u [T,D] */
            struct node *(*noise_input)(struct build *b, struct pick self, struct node *u);
        };
        void (*select)(struct build *b, struct pick self, struct routing *r);               /* sets index, rows */
        /* optional: drops from index by gates before `scale`; or index, chosen and gate get other columns */
        void (*revise)(struct build *b, struct pick self, struct routing *r);
        struct dispatched (*dispatch)(struct build *b, struct pick self, struct node *u, struct routing *r);
        struct {                                            /* both optional: around routed experts, [T,D] <-> [T,L] */
            struct node *(*latent_in)(struct build *b, struct pick self, struct node *u);
            struct node *(*latent_out)(struct build *b, struct pick self, struct node *routed);
        };
        /* routed + shared(u) */
        struct node *(*shared)(struct build *b, struct pick self, struct node *u, const struct routing *r,
                               struct hidden expert, struct node *routed);
        void         (*head)(struct build *b, struct pick self, struct node *h);
        void         (*mtp)(struct build *b, struct pick self, struct node *h, struct node *head_weight);
        struct {    /* of adapters, all optional, as one: without them no weight is frozen */
            /* bits of the roles whose matrices have adapters, and of those whose weights are trained themselves */
            unsigned (*adapted)(struct pick self);
            unsigned (*trained)(struct pick self);
            enum kept_as (*kept)(struct pick self);         /* what matrices with adapters are kept in */
            double (*factor)(struct pick self);             /* on B A, in what is added to a matrix */
            struct node *(*adapter)(struct build *b, struct pick self, const struct adapted *a);    /* added to x w^T */
        };
        enum kept_as (*base)(struct pick self);
        /* x w^T, or with offsets of experts' rows; NULL: not by this module, or none of these weights */
        struct node *(*product)(struct build *b, struct pick self, struct node *x, struct node *w,
                                struct node *offsets);
        /* one weight's update, REAL [3] as op adamw's */
        struct node *(*optim)(struct build *b, struct pick self, struct node *w, struct node *grad, struct update u);
        double (*rate)(struct build *b, struct pick self, const struct leaf *w);    /* factor on lr of one weight */
        /* optional: changes one weight after its update */
        void (*constrain)(struct build *b, struct pick self, struct node *w, struct update u);
        /* optional: of a step's clip, as op clip_norm gives it, loss and gradient norm another clip */
        struct division (*division)(struct pick self);      /* ranks; dp 0: what the others leave */
        struct node *(*guard)(struct build *b, struct pick self, struct node *clip, struct node *loss,
                              struct node *norm);
        /* optional: of all n, after the step's update */
        void (*average)(struct build *b, struct pick self, const struct followed *of, int n, struct update u);
        struct {                                            /* all optional: metrics alone */
            /* In training: who computes what. */
            void (*watch_ranks)(struct build *b, struct pick self, const struct ranked *r);
            /* In evaluations: the stream before and after a layer; attention as its heads look. */
            void (*watch_layer)(struct build *b, struct pick self, struct node *before, struct node *after);
            void (*watch_attention)(struct build *b, struct pick self, struct attention a);
            /* Of a weight that trait `watched` has, by its name within its layer: in evaluations; and in training,
               where change is what the optimizer gives. */
            void (*watch_weight)(struct build *b, struct pick self, const char *name, struct node *w);
            void (*watch_update)(struct build *b, struct pick self, const char *name, struct node *w, struct node *grad,
                                 struct node *change);
        };
        struct {
            /* factor on lr from step `warmup` on; steps count from 0 */
            double (*schedule)(struct pick self, int64_t warmup, int64_t step, int64_t steps);
            /* optional: the last step before it decays, warm-up or not */
            int64_t (*peak_ends)(struct pick self, int64_t steps);
        };
        struct {
            void (*sample)(struct pick self, const struct sampled *of, struct item *to);    /* to: its row has begun */
            const void *(*table)(struct pick self, struct arena *a, uint64_t seed);     /* optional: what all share */
        };
    };
};

/* What all schedules have: a linear warm-up, of steps or of tokens, from a share of the peak. */
struct warmup { int steps, tokens; double from; };
#define WARMUP(type) \
    { "warmup", PARAM_INT, FIELD(type, warmup.steps), 0, 0, 1 << 30, NULL, "step", "steps of linear warm-up", 0, NULL, \
      false }, \
    { "warmup_tokens", PARAM_INT, FIELD(type, warmup.tokens), 0, 0, INT32_MAX, NULL, "token", \
      "the same as a number of tokens, rounded up to whole steps; 0: as `warmup` says", 0, NULL, false }, \
    REAL_AS("warmup_from", type, warmup.from, 0, 0, 1, "", "share of the peak that the warm-up begins at")
/* Steps of warm-up in a run whose sequences have so many tokens. */
int64_t schedule_warmup(struct pick schedule, const struct train_conf *train, int64_t seq);
/* The factor on what is scheduled. */
double schedule_factor(struct pick schedule, int64_t warmup, int64_t step, int64_t steps);
/* Whether it is ever another than 1. */
bool schedule_varies(struct pick schedule);
/* A schedule of a run. */
struct scheduled { struct pick schedule; int64_t warmup; };
struct scheduled train_scheduled(struct pick schedule, const struct train_conf *train, int64_t seq);
/* How far step is on the way from the end of the warm-up to that of the run: 0 to 1. */
double schedule_progress(int64_t warmup, int64_t step, int64_t steps);
/* How a rate decays from 1 to `final`, x from 0 to 1. */
enum decay_shape { DECAY_SQRT, DECAY_LINEAR, DECAY_COSINE, DECAY_EXPONENTIAL };
double schedule_shape(enum decay_shape shape, double final, double x);
/* A decay over the last `decay`, a share, of a stretch of steps. */
struct cooldown { double decay; int shape; double final; };
#define COOLDOWN(type, decay_, shape_, help) \
    REAL_AS("decay", type, cooldown.decay, decay_, 0, 1, "", help), \
    { "shape", PARAM_CHOICE, FIELD(type, cooldown.shape), shape_, 0, 0, "sqrt linear cosine exponential", "", \
      "how it decays", 0, NULL, false }, \
    REAL_AS("final", type, cooldown.final, 0, 0, 0.99, "", "share of the peak that it ends at")
/* The factor at step, which is within the stretch; how many steps have the peak, of a stretch from 0 on. */
double schedule_cooldown(const struct cooldown *c, double begin, double end, int64_t step);
int64_t schedule_peak_ends(const struct cooldown *c, double end);
void schedule_check_cooldown(const struct cooldown *c, const char *path, struct problems *problems);

extern const struct module *const module_all[];             /* ends in NULL */
const struct module *module_find(enum slot slot, const char *name);
struct traits module_traits(struct pick pick);
/* What fills a slot of a module, at any depth; .module NULL: it has no such slot. */
struct pick module_part(struct pick pick, enum slot slot);
/* Rules between a module's experts, their router and their balance rules, for its `check`. */
void experts_check(const struct experts *e, const char *path, struct problems *problems);
/* What decoding keeps of the past where attention has these traits, and in words: "all", "a window of 64". */
struct mask kv_kept(struct traits attention);
const char *kv_words(struct mask kept, char out[48]);
/* Whether layer `reader` can read the keys and values of layer `source`: for the `check` of the kv module `self`, of
   layers that have it. */
void kv_check(struct pick self, const struct model_conf *model, int reader, int source, const char *path,
              const char *key, struct problems *problems);
/* Whole ones of a product of shares, which rounding does not make one more or less. */
static inline double share_up(double x) { return ceil(x - 1e-6); }
static inline double share_down(double x) { return floor(x + 1e-6); }
/* Adds a problem whose path is "<path>.<key>". */
void module_problem(struct problems *p, const char *path, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
