/* What a module calls while it builds: what is known of the model, what crosses layers, weights, parts of the model,
   metrics, losses. Nobody checks for NULL: the graph keeps the first error. */
#ifndef SLUICE_BUILD_H
#define SLUICE_BUILD_H

#include "inputs.h"
#include "graph/attributes.h"

#define INPUT_NODE(name, dtype, shape, graphs) struct node *name;

/* What every builder may ask. Dimensions: T = batch * seq tokens in this graph. */
struct build {
    struct graph *graph; struct arena *arena;
    enum mode mode;
    const struct model_conf *conf; const struct train_conf *train;   /* train: NULL outside MODE_TRAIN */
    int64_t batch, seq, tokens, width, vocab, context;      /* context: cache length in decode, else of a sequence */
    int64_t rewind;                                         /* positions that decoding can be rolled back */
    bool drafts;                                            /* in decode MTP blocks are built, outside it always */
    int64_t recorded;    /* sequences of a step, or of an evaluation, whose choices are kept; 0: none are */
    int layers, layer;    /* of the trunk; the current one: 0..layers-1, MTP blocks from there on, -1 outside */
    int blocks;                                             /* layers and MTP blocks together */
    bool branch_bounded;                                    /* trait of the current layer's residual */
    double branch_std;    /* factor on how wide values, what attention writes and feed-forwards begin; a residual's */
    double share;                                           /* of the tokens, those that reach what is built now */
    const struct taken *taken;    /* which these are, where a block takes some out of their sequences; NULL: all */
    double softcap;                                         /* of the head's logits; 0: none */
    INPUTS(INPUT_NODE)                                      /* ids, start, ..: NULL where this mode has none */
    char path[256];                                         /* of weights made now: "layers.3.attention" */
    const char *metric_prefix;    /* of metrics and losses of a router, where a layer has several of them; or "" */
    struct building *own;                                   /* of build.c */
};

/* ---- what builders hand to each other ---- */

/* What runs past the sublayers, as the residual slot keeps it. */
struct stream {
    struct node *x;                                         /* what the next sublayer reads: [T,D], or [T,n,D] */
    struct node *x0;                                        /* to `open`: [T,D], what `embed` gave */
    int n_kept; struct node **kept;                         /* what the residual keeps beside it: stream_keep */
    int sublayers;                                          /* how many it has passed */
    void *own;                                              /* the residual's own, from `open` on; a fork shares it */
};
/* A part of the model handed to a module that decides what surrounds it. */
struct sublayer {
    struct node *(*build)(struct build *b, const void *context, struct node *u);
    const void *context;
    const char *name;
};
/* How many positions are seen, the own one included; of which chunk of the document; 0: all of the past. */
struct mask { int64_t window, chunk; };
/* Keys and values as attention reads them, [T,G,W] or caches [B,C,G,W]; the values of these tokens, [T,G,W]. Or latents
   that they are made of, [T,R], rotary keys, [T,1,P] or NULL, and latents again; as caches k has both, [B,C,1,R+P].
   pos, start: where in a cache the tokens and their documents begin, NULL: as b->pos and b->start say. */
struct kv { struct node *k, *v, *value, *pos, *start; };
/* Tokens that a block takes out of their sequences, as many of each: order I32 [R] and inverse I32 [T,1] as op dispatch
   gives them; origin: I32 [B,C], what their positions in their documents count from, zero I32 [1]. outer: who built
   before. */
struct taken { struct node *order, *inverse, *origin, *zero; struct build *outer; };
/* What attention goes to that has no value: nothing, a learned logit of each head, or one that each token makes. */
enum sink { SINK_NONE, SINK_HEAD, SINK_TOKEN };
/* Attention that is about to look: the call, as it would be with all keys that its mask leaves; what the sublayer reads
   [T,D], and what queries are made from, u or a latent [T,R]. */
struct attending { struct attention attention; struct node *u, *from; };
/* Makes keys and values, finished, of what they are made from. */
struct projector { struct kv (*build)(struct build *b, const void *context, struct node *from); const void *context; };
/* What of an expert its gate is a factor on: what it writes, what it reads, or what its last product reads, to the same
   result where that has no bias. */
enum gate_on { GATE_OUTPUT, GATE_INPUT, GATE_HIDDEN };
/* A router's logits as choice and gates see them, REAL [T,E]. std, or std_all where it is the same for all: spread of
   the noise in `choice` where that is normal; else NULL and 0. drawn: where the largest of `choice` are draws without
   replacement, each in proportion to e^drawn; else NULL. */
struct noisy { struct node *choice, *gate, *std, *drawn; double std_all; };
/* How a router begins a run: what its logits are multiplied with, REAL [1]; which of the K choices of a token count,
   REAL [K] of ones and zeros. NULL: nothing, and all of them. beneath_noise: the logits are, before noise is added. */
struct anneal { struct node *sharpness, *open; bool beneath_noise; };
struct routing {
    int experts, k;
    int idle;                                               /* of the experts: the last ones, which compute nothing */
    int64_t rows;                                           /* most pairs that can be chosen; 0: each of `index` */
    struct node *input;                                     /* [T,D]: what the router goes by, without noise */
    struct node *logits;                                    /* REAL [T,E], without noise */
    struct noisy noisy;
    struct node *score;                                     /* REAL [T,E], unbiased */
    struct node *share;    /* REAL [T,E], score with rows that sum to 1: P of the balance losses */
    struct node *key_logits;                                /* REAL [T,E]: whose score the key is, unbiased */
    struct node *key;                                       /* REAL [T,E]: what the choice goes by */
    struct node *index, *gate;                              /* I32, REAL [T,K]; -1: no expert */
    struct node *chosen;                                    /* index as it was selected, before any was dropped */
    struct node *counts;                                    /* I32 or REAL [E], set by dispatch; idle ones too */
    bool uneven;                                            /* a token may have more or fewer experts than K */
    bool keyless, largest_keys;                             /* traits of the choice */
    int groups, group_limit;    /* a token goes to so many of equal runs of experts at most; 0: to any */
    enum gate_on gate_on;
};
/* What a module has of experts: how many there are to choose from, the last `idle` of which compute nothing; who
   goes where; what keeps the load even; how tokens reach them. */
struct experts { int choices, idle; struct pick router; struct picks balance; struct pick dispatch; };
/* rows [R,D] of `tokens` [T,D]; see ops dispatch, gather, combine */
/* counts: rows have come to this rank's experts, as op exchange_counts says, and offsets are of these; NULL: they are
   this rank's own. over: axes over which ranks have a part of the experts whose rows these are, 0: all are here.
   index: what they are sorted by, I32 [T,K]. copies: as op place_copies gives them: those of each rank are behind its
   own experts; NULL: there are none. */
struct dispatched {
    struct node *tokens, *index, *rows, *offsets, *order, *inverse, *counts, *copies;
    unsigned over;
};
/* A router that is complete, with what its experts wrote: rows [R,W] of d, before gates. */
struct routed { const struct routing *routing; const struct dispatched *d; struct node *rows; };
/* Experts of a layer as ranks have them, in training: choices of experts, of which each rank has as many, and of places
   where they are computed, likewise, both I32 [T,K]; REAL [1], rows that go to other nodes, and would if each choice
   went by itself. */
struct ranked { struct node *index, *place, *away, *away_each; int64_t experts, places; int ranks; };
/* Who has a graph built to look at its routers, not to train by it. router: is told of each, by the name of what it is
   in ("ffn") and its layer. without_best: so many experts, those with its largest keys, are closed to each token. */
struct observer {
    void (*router)(void *to, const char *name, int layer, const struct routed *r);
    void *to;
    int without_best;
};
/* What a feed-forward tells what is within it. */
struct hidden { int64_t width; struct pick activation; bool bias; };
/* What attention tells who makes its queries: heads of one projection, key heads, width of a head, which products have
   a bias. */
struct heads { int64_t n, kv_heads, width; bool bias, output_bias; };
/* Queries [T,K H W] of K projections of H heads each, in the order of the key heads that they read; what leads back
   from there to those who made them. */
struct queries { struct node *q; int64_t k; struct heads heads; struct routing r; struct dispatched d; };
/* What updates go by: learning rate, REAL [1], or [3] with factors on decay and momentum; number of the step, REAL [1];
   clip: what clip_norm gives, REAL [2]; rate, eps, decay: factors on the learning rate of the weight that is updated,
   and on what its optimizer has of these; along: a monitor asks which way weights change, not only how far. */
struct update { struct node *lr, *step, *clip; double rate, eps, decay; bool along; };

/* What a gate may be on, in an attention: what heads read, values, keys and queries as they were projected, [T,H,W], or
   what the attention writes, [T,D]. */
enum gated { GATED_HEADS, GATED_VALUES, GATED_KEYS, GATED_QUERIES, GATED_OUTPUT };
/* Where short convolutions may stand: on what attention and the feed-forward read and write, on queries, keys and
   values as they were projected, on what a feed-forward makes of its input before the activation. */
enum conv_at { CONV_ATTENTION, CONV_FFN, CONV_QUERIES, CONV_KEYS, CONV_VALUES, CONV_HIDDEN, CONV_WRITTEN };

/* ---- what builders call ---- */

/* Path of the weights and layer-wise metrics made between enter and leave. */
void build_enter(struct build *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void build_leave(struct build *b);

/* What crosses layers: a node kept by layer (-1: the model's) and name, for modules that are built later. Kept names:
   "layer.input" (what its block reads: the residual stream, or streams), "attention.input" (normalised),
   "attention.projected" (values, before others were mixed into them), "attention.v" and ".value" (as struct kv has
   them), "kv.k", ".v", ".value"; of the model "embed.table", "embed.token", "head.loss" (REAL [T], not averaged; of an
   MTP block its own). NULL: nothing of that name was kept. */
void build_keep(struct build *b, int layer, const char *name, struct node *x);
struct node *build_kept(struct build *b, int layer, const char *name);
/* What the first layer of those up to this one kept of that name. */
struct node *build_kept_first(struct build *b, const char *name);
/* What layers make together: memory, zero at first, that is the same for all who ask by this name, and of several
   routers of a layer for each by itself. */
void *build_common(struct build *b, const char *name, size_t bytes);
/* Runs when all else of the pass is built, so that what comes after a layer can be read in it, as "head.loss"; with a
   copy of b as it was when registered. */
void build_finish(struct build *b, void (*run)(struct build *b, void *state), void *state);

/* Tells who looks at the graph of a router that is complete, by the last word of the path; keys as they are chosen by,
   for who closes some. */
void build_observed(struct build *b, const struct routed *r);
bool build_is_observed(const struct build *b);
struct node *build_without_best(struct build *b, struct node *key);                                /* [T,E] */

/* Initial values: all one number. */
static inline struct init init_constant(double value) { return (struct init){ .kind = INIT_CONSTANT, .value = value }; }
/* Initial values drawn evenly between two numbers; logarithms of such. */
static inline struct init init_uniform(double low, double high)
{
    return (struct init){ .kind = INIT_UNIFORM, .value = low, .std = high - low };
}
static inline struct init init_log_uniform(double low, double high)
{
    return (struct init){ .kind = INIT_LOG_UNIFORM, .value = low, .std = high - low };
}
/* Whether a matrix of this role writes to the stream; whether branch_std is a factor on how wide it begins. */
static inline bool role_writes(enum role role)
{
    return role == ROLE_OUT || role == ROLE_FFN_DOWN || role == ROLE_LATENT_UP;
}
static inline bool role_of_branch(enum role role)
{
    return role_writes(role) || role == ROLE_V || role == ROLE_FFN_GATE || role == ROLE_FFN_UP;
}
/* The initial values that the init slot gives a matrix, which reads what its role says, or something else. */
struct init build_init(struct build *b, enum role role, struct shape shape);
struct init build_init_of(struct build *b, enum role role, enum weight_reads reads, struct shape shape);
/* w, which reads something else than its role says. */
struct node *build_reads(struct node *w, enum weight_reads reads);

/* x W^T: W is [out, shape_last(x)], initialised by the init slot, at path "<b->path>.<name>.weight". ACT out; REAL
   for roles whose products are scores. x of rank 3 is read as [T, rest]. */
struct node *linear(struct build *b, const char *name, enum role role, struct node *x, int64_t out);
/* linear, of zeros at first where `zero`: what it makes begins at 0. */
struct node *linear_from(struct build *b, const char *name, enum role role, struct node *x, int64_t out, bool zero);
/* linear_from of x [T,I] that is as wide in all models: of rows of tables, ranks, heads, a router's hidden layer. */
struct node *linear_same(struct build *b, const char *name, enum role role, struct node *x, int64_t out, bool zero);
/* linear of the stream to logits, times the factor of the model's width. */
struct node *readout(struct build *b, const char *name, enum role role, struct node *x, int64_t out);
/* linear, and a bias of zeros at path "<b->path>.<name>.bias" where it is asked for. */
struct node *affine(struct build *b, bool bias, const char *name, enum role role, struct node *x, int64_t out);
/* affine of which ranks over tp have a part each (tensor parallel). OUTPUTS: x is the same for all of them, and each
   has its part of what is made; INPUTS: each has its part of x, and all have what is made. out: of the whole. */
enum side { SIDE_OUTPUTS, SIDE_INPUTS };
struct node *affine_part(struct build *b, enum side side, bool bias, const char *name, enum role role, struct node *x,
                         int64_t out, bool zero);
/* Of the stream something for each of the heads that this rank has, which are so many. */
struct node *linear_of_heads(struct build *b, const char *name, enum role role, struct node *u, int64_t heads,
                             bool zero);
/* How many of n heads or hidden values a rank has; x [N] of all of them; a weight that the parts of all share. */
int64_t build_part(const struct build *b, int64_t n);
struct node *build_all_parts(struct build *b, struct node *x);
struct node *build_mean_parts(struct build *b, struct node *x);                                 /* their mean */
struct node *build_shared(struct build *b, struct node *w);
/* linear, or where rank is not 0 a product of two: to `rank` by "<name>_down", from there by "<name>". */
struct node *low_rank(struct build *b, const char *name, enum role role, struct node *x, int rank, int64_t out);
/* linear for E stacked matrices [E, out, in] over expert rows. active: share of the stack that a token uses. */
struct node *expert_linear(struct build *b, const char *name, enum role role, const struct dispatched *d,
                           struct node *rows, int64_t out, int experts, double active);
/* expert_linear for the experts of r, and a bias of each where it is asked for. */
struct node *expert_affine(struct build *b, bool bias, const char *name, enum role role, const struct routing *r,
                           const struct dispatched *d, struct node *rows, int64_t out);
/* A product x w^T to which something is added: its name, as linear has it, its frozen weight, and of experts' rows d,
   or NULL. */
struct adapted { const char *name; struct node *x; const struct leaf *w; const struct dispatched *d; };
/* x w^T of a weight that is there, or of experts' rows d, else NULL; in training as the fp8 slot has it, and of what is
   kept in codes by these. */
struct node *build_product(struct build *b, struct node *x, struct node *w, const struct dispatched *d);
/* w of a rank's experts, and of those whose copies it computes. */
struct node *build_copied(struct build *b, struct node *w, const struct dispatched *d);
/* A bias of zeros at path "<b->path>.<name>.bias". */
struct node *build_bias(struct build *b, const char *name, struct shape shape);
/* The same of experts' rows d: of each expert its own, [E,out]. */
struct node *build_expert_bias(struct build *b, const char *name, struct shape shape, const struct dispatched *d);
/* Says that the rows of weight `name`.weight, which is made, are those of so many heads. */
void build_heads(struct build *b, const char *name, int64_t heads);
/* act(u Wg, u Wu) Wd, or act(u Wu) Wd where the activation has no gate, each product with a bias where h says so. */
struct node *feed_forward(struct build *b, struct hidden h, struct node *u);               /* [T,D] */
/* The same by the experts of r, weights below `name`, times the gates, summed for each token. [T,W] */
struct node *expert_feed_forward(struct build *b, const char *name, struct hidden h, const struct routing *r,
                                 const struct dispatched *d);
/* Gates on what the last product of experts reads, REAL [R,1]; NULL: they are elsewhere. */
struct node *expert_gates(struct build *b, const struct routing *r, const struct dispatched *d);
/* index [T,K] without the choices after the first that have 0 in `later` [T,K-1]. */
struct node *build_drop_later(struct build *b, struct node *index, struct node *later);
/* The choices that another run made for the tokens of the current layer, I32 [T,K], -1: none; NULL in decoding, of
   which there is no record. */
struct node *build_choices(struct build *b, int64_t k);
/* Who of the tokens of u goes where. */
struct routing build_routing(struct build *b, const struct experts *e, struct node *u);
/* Their rows as e's dispatch gives them, with e's balance rules and the metrics of routing. */
struct dispatched build_dispatch(struct build *b, const struct experts *e, struct node *u, struct routing *r);
/* What experts wrote, times the gates, summed for each token. [T,W] */
struct node *build_combined(struct build *b, const struct routing *r, const struct dispatched *d, struct node *rows);
/* Rows of u for each pair of r->index that has an expert to compute it, sorted by expert; sets r->counts. */
struct dispatched build_dispatched(struct build *b, struct node *u, struct routing *r);
/* The factor on gates that sum to 1, those of the k largest of random logits, with which a sum of unlike experts keeps
   the size of one. score: of a logit, before the sum. */
double build_unit_scale(int experts, int k, double (*score)(double z));
/* [E]: how often each expert was chosen in the micro-batch, before any were dropped. After dispatch. */
struct node *build_counts(struct build *b, const struct routing *r);
/* x [T,D] times a number for each token, [T,1]. */
struct node *build_gated(struct build *b, struct node *x, struct node *gate);
struct node *build_above(struct build *b, struct node *x);    /* 1 where x is above 0, else 0; x is detached or fixed */
struct node *build_row_sum(struct build *b, struct node *x);                                  /* [T,E] -> [T,1] */
/* The smallest prime from `from` on. */
int64_t build_prime(int64_t from);
/* How far a step is in the first `length`, a share, of a run: 0 to 1. */
double build_progress(double length, int64_t step, int64_t steps);
/* A gain vector (ones or zeros), a table, or another weight that is no linear. */
struct node *build_weight(struct build *b, const char *name, enum role role, struct shape shape, struct init init);
/* The weight "<b->path>.<name>.weight" that was made before; NULL: there is none. */
struct node *build_made(struct build *b, const char *name);
struct node *build_buffer(struct build *b, const char *name, enum dtype dtype, struct shape shape, double value);

/* Keys and values that `project` makes of `from`, or, where `source` is another layer, those that it made. */
struct kv build_kv_of(struct build *b, int source, struct node *from, struct projector project);

/* The model's norm slot. */
struct node *build_norm(struct build *b, const char *name, struct node *x);
struct node *build_norm_from(struct build *b, const char *name, struct node *x, double gain);       /* gain: at first */
/* The position slot of the current layer. */
struct node *build_position(struct build *b, struct node *x);
/* REAL [H] or [T,H]; both begin as a logit of 0; NULL: there is none. And the metrics of what op attention gave: heads
   is its node. */
struct node *build_sink(struct build *b, enum sink sink, struct node *u, int64_t heads);
void build_attended(struct build *b, struct node *heads, enum sink sink);
/* What it adds to the logits of the R nearest keys, [T,H,R] by query head and distance, NULL: nothing; and the factor
   that it asks for on all logits. */
struct node *build_position_bias(struct build *b, struct node *u, int64_t heads);
double build_sharpness(const struct build *b);
/* x [T,..] through the conv slot of the current layer, weights at "<b->path>.<name>". */
struct node *build_convolved(struct build *b, enum conv_at at, const char *name, struct node *x);
struct node *build_position_back(struct build *b, struct node *x);                          /* undoes it */
/* Adds y [T,D] to what a residual keeps beside a stream. A stream that forks keeps what it had. */
void stream_keep(struct build *b, struct stream *s, struct node *y);
/* The residual of the current layer around one of its sublayers, or around what a block makes of them. */
void build_around(struct build *b, struct stream *s, struct sublayer f);
struct node *build_attention(struct build *b, const void *none, struct node *u);
struct node *build_ffn(struct build *b, const void *none, struct node *u);
/* Keeps y [T,D] for the feed-forward of the next layer: a block passes what that gives through build_joined. */
void build_join_next(struct build *b, struct node *y);
/* y, and what an earlier layer kept for this one's feed-forward. */
struct node *build_joined(struct build *b, struct node *y);
/* One block with the configuration of trunk layer `like`, as layer b->layer, on a stream of its own. */
struct node *build_block(struct build *b, int like, struct node *x);
/* One block like the trunk's last layer, as layer b->layer, on what that reads. */
struct node *build_branch(struct build *b);
/* x with the norm that ends the trunk, where there is one. */
struct node *build_ended(struct build *b, struct node *x);
/* x of an MTP block's rows, made in the graph of block `maker`, 0: the trunk's. In decode these are graphs of their
   own: that of the maker leaves x behind, and that of b->layer reads it. */
struct node *build_handed(struct build *b, int maker, const char *name, struct node *x);
/* MTP block `layer` is what is built from here on, of the trunk's rows; -1: the trunk's end. Between block_enter and
   leave its weights are, and sequences have no rows for the last tokens, which see no token so far ahead. */
void build_at(struct build *b, int layer);
void build_block_enter(struct build *b);
void build_block_leave(struct build *b);
/* Logits of rows h [T,D] as decoding reads them, REAL [T,V]; their cross-entropy, as op cross_entropy gives it. Where
   the head's matrix is narrower than the model, rows pass a projection that all heads share. */
struct node *build_logits(struct build *b, struct node *h, struct node *head_weight);
struct node *build_cross_entropy(struct build *b, struct node *h, struct node *head_weight, struct node *target);
/* What MTP block b->layer says of the token that it is to predict: by rows h [T,D] its loss, with this weight, and how
   often it is right; in decode its logits, kept as such. */
void build_further(struct build *b, struct node *h, struct node *head_weight, double weight);
/* Between enter and leave the tokens of `index` are all that there are: I32 [T,1], 0, and -1 for those that pass by;
   of each sequence `each`, which are sequences of their own. Positions are those that they had. */
const struct taken *build_take_enter(struct build *b, struct node *index, int64_t each);
void build_take_leave(struct build *b);
/* What positions in documents count from, as op rope reads it. */
struct places { struct node *start, *pos; };
struct places build_places(const struct build *b);
/* Vectors of the tokens that are so many positions ahead of this graph's rows. [T,D] */
struct node *build_embedded(struct build *b, int ahead);
/* ids of the tokens of this graph's rows, I32 [B,S]: MTP blocks have fewer than the trunk. */
struct node *build_ids(struct build *b);
/* Of x [B*S',..] the rows that the sequences of b have, the first b->seq of each: MTP blocks have
   fewer than the trunk. */
struct node *build_rows(struct build *b, struct node *x);
/* x, of T rows, with `value` in those that only fill up a batch of an evaluation, or a window of data with answers;
   elsewhere there are none, and it is x itself. */
struct node *build_present(struct build *b, struct node *x, double value);
/* In training: the mean of x, [T,..], over the rows of the micro-batch that are there. */
struct node *build_present_mean(struct build *b, struct node *x);
/* A mean over T rows in which those that only fill up are `each`, as if they were 0: for build_row_metric. */
struct node *build_without_fill(struct build *b, struct node *mean, double each);
/* Fails where rows of training only fill up. */
void build_needs_text(struct build *b, const char *module);
/* REAL noise of the shape of `like` [T,..], drawn anew for each token of each step; NULL outside training, where
   nothing is noisy. Its bits follow from the run's seed, the token's position in the run, column, path and name: a name
   is used once at a path. */
struct node *build_noise(struct build *b, const char *name, struct node *like, enum noise_kind kind);
/* Where ranks divide sequences (context parallel) seq and tokens are those of this rank's part, and pos is where it
   begins. build_sequences: of x [T,..] the whole sequences, [B,C,..]; I32 [B,S] likewise; where they are whole, x
   itself. build_sequences_sum: the sum of what ranks have of their parts. build_undivided: an error where they are
   parts, as what needs whole ones is built. */
bool build_divides(const struct build *b);
struct node *build_sequences(struct build *b, struct node *x);
struct node *build_sequences_sum(struct build *b, struct node *x);
void build_undivided(struct build *b, const char *what);
/* Where documents begin, as attention reads it: rows that only fill up see nothing. I32 [B,S] */
struct node *build_seen(struct build *b);
/* In decode: writes x [T,..] into a cache buffer and gives the whole of it; otherwise build_sequences, for I32 ids
   with what lies ahead of them. window: the positions that are read back, as a mask gives them; 0: all. */
struct node *build_cached(struct build *b, const char *name, struct node *x, int64_t window);
/* The same of a mask that does not see all of the past: in decode a ring, of which no more is kept than is read back
   and b->rewind, and what of it a chunk reads, in order, with where in that chunk and documents begin. */
struct cached { struct node *x, *pos, *start; };
struct cached build_cached_in(struct build *b, const char *name, struct node *x, struct mask mask);
/* In decode: a ring of what positions leave behind, REAL [B,R,..]: that of position p lies in entry p mod R. A position
   reads the `back` (>= 1) before it, and b->rewind more can be rolled back. Its size does not grow with the context.
   Otherwise NULL: sequences begin at zero. */
struct node *build_state(struct build *b, const char *name, struct shape one, int64_t back);
/* In decode: room for what each window of m positions leaves behind, REAL [B,C/m,..]. Otherwise NULL. */
struct node *build_entries(struct build *b, const char *name, struct shape one, int64_t m);

/* ---- of mixers in linear time ---- */

/* silu of a short convolution of x [T,D] by channels, with a bias where it is asked for; start: of documents. At path
   "<b->path>.<name>.conv". */
struct node *build_conv(struct build *b, const char *name, struct node *x, struct node *start, int taps, bool bias);
/* What op delta_rule reads from a memory for each value head, [T,HV,M]; pos, state and chunk are set here. */
struct node *build_memory(struct build *b, struct delta_rule rule);
/* RMSNorm of each head, of one gain [M] for all. */
struct node *build_head_norm(struct build *b, struct node *heads);
/* [H width] of [H]: each value `width` times. */
struct node *build_for_channels(struct build *b, struct node *x, int64_t width);
/* Of what softplus makes a step: it begins within 0.001 and 0.1. */
struct init build_step_init(void);

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
/* REAL [T]: 1 for the tokens that count, those whose next `ahead` + 1 tokens are there, in their document; else 0. */
struct node *build_token_weights(struct build *b, int ahead);
/* What an indexer learns from: of each token the KL divergence of attention's mass [T,X] from the softmax of its scores
   [T,X]. A loss and a metric. */
void build_index_loss(struct build *b, struct node *score, struct node *mass, double weight);
/* In evaluations: what a query gives, of what it would give to all keys, to the first `kept` that a.index names for it,
   which names all of them. */
void build_keys_mass(struct build *b, struct attention a, int64_t kept);
/* The mean of x [T] over these: of all tokens of a step (or an evaluation) together, however its batch is cut. */
void build_token_metric(struct build *b, const char *name, struct node *x, int ahead, const char *unit,
                        enum better better, const char *about);
/* In evaluations: the mean of x [T], losses of next tokens, by how far into its document in the sequence a token is;
   and where sequences are longer than in training, of those positions that training had and of those beyond. */
void build_position_losses(struct build *b, struct node *x);
/* A term of the objective, REAL [1]: of the micro-batch, as build_row_metric's value; the mean over micro-batches and
   ranks. Also a metric "loss_<name>" (summed over layers). */
void build_loss(struct build *b, const char *name, struct node *value, double weight);
/* The same of a value that is no mean over rows, in training alone. */
void build_whole_loss(struct build *b, const char *name, struct node *value, double weight);
/* The same of x [T], averaged as build_token_metric does. */
void build_token_loss(struct build *b, const char *name, struct node *x, int ahead, double weight);
/* Runs in the update region after the optimizer, with b->layer as it was when registered; u->clip tells whether the
   step counts. Never called outside MODE_TRAIN. */
void build_update(struct build *b, void (*run)(struct build *b, void *state, struct update u), void *state);
/* The control "lr": lr times the schedule's factor of the step. REAL [1]; where decay or momentum change too, REAL [3]
   with their factors. */
struct node *build_rate(struct build *b, double lr);
/* A number as a node, REAL [1]. */
struct node *build_constant(struct build *b, double value);
struct node *build_ones(struct build *b, struct shape shape);                                  /* REAL */

/* ---- of roles that a parameter lists ---- */

/* Bits of the roles of these names, with spaces between; what else is in it is passed over. */
unsigned build_roles(const char *names);
/* The same of matrices whose products are activations; "": those of attention and of feed-forwards. */
unsigned build_product_roles(const char *names);
/* Whether linear and expert_linear make matrices of this role whose products are activations. */
bool role_multiplies(enum role role);
/* A problem for each name of `key` that is no role, or one that is not `fit`, and why. */
void build_check_roles(const char *names, const char *key, bool (*fit)(enum role role), const char *why,
                       const char *path, struct problems *problems);

/* ---- of products in FP8 ---- */

/* What all are told. roles: of weights, by their names with spaces between; "": matrices of attention and of
   feed-forwards. forward, gradient: formats. */
struct fp8 { const char *roles; int forward, gradient, power_of_two; };
#define FP8(type, field) \
    { "roles", PARAM_TEXT, FIELD(type, field.roles), 0, 0, 0, NULL, "", \
      "of weights whose products are FP8, with spaces between; \"\": the matrices of attention and of feed-forwards", \
      0, "", false }, \
    { "forward", PARAM_CHOICE, FIELD(type, field.forward), FP8_E4M3, 0, 0, FP8_FORMATS, "", \
      "format of activations and weights", 0, NULL, false }, \
    { "gradient", PARAM_CHOICE, FIELD(type, field.gradient), FP8_E4M3, 0, 0, FP8_FORMATS, "", \
      "format of the gradients of what products give", 0, NULL, false }, \
    BOOL_AS("power_of_two", type, field.power_of_two, false, "scales are powers of two")
/* The rules of a module whose conf begins with it. */
void build_fp8_check(struct pick self, const struct model_conf *model, const char *path, struct problems *problems);
/* The product of w's role by this scaling, NULL: it is not among those. steps: how many delayed scaling goes by. */
struct node *build_fp8(struct build *b, const struct fp8 *f, enum fp8_scaling scaling, int steps, struct node *x,
                       struct node *w, struct node *offsets);

/* ---- of optimizers ---- */

/* What all are told, and their conf begins with: the rate at its peak, and the decay, which is for weights by their
   role. */
struct pace { double lr, decay; int decay_gains, decay_tables; };
#define PACE(type, field, lr_, decay_) \
    REAL_AS("lr", type, field.lr, lr_, 0, 10, "", "peak learning rate"), \
    REAL_AS("decay", type, field.decay, decay_, 0, 10, "", "weight decay"), \
    BOOL_AS("decay_gains", type, field.decay_gains, false, \
            "the gains of norms decay too: to 0, zero-centred ones to 1"), \
    BOOL_AS("decay_tables", type, field.decay_tables, false, "the vectors of tokens and the rows of tables decay too")
/* AdamW, of those too that leave it what is no hidden matrix. state: of STATE. */
struct adam { double beta1, beta2, eps; int state; };
#define ADAM(type, field, whose) \
    REAL_AS("beta1", type, field.beta1, 0.9, 0, 0.9999, "", whose "decay of the first moment"), \
    REAL_AS("beta2", type, field.beta2, 0.95, 0, 0.99999, "", whose "decay of the second moment"), \
    REAL_AS("eps", type, field.eps, 1e-8, 1e-16, 1, "", whose "added to the root")
/* What moments are kept as, enum moment_as. */
#define STATE(type, field, whose) \
    { "state", PARAM_CHOICE, FIELD(type, field), MOMENT_FLOAT, 0, 0, MOMENTS, "", \
      whose "what moments are kept as; int8: codes in blocks of 256", 0, NULL, false }
/* What is kept as bf16 cannot decay, by the parameter `by`, by less than its digits tell apart; of AdamW's moments. */
void build_check_state(int state, const char *by, double decay, const char *path, struct problems *problems);
void build_check_adam(const struct adam *a, const char *path, struct problems *problems);
/* The decay where it is for this weight, else 0. */
double build_decay(const struct pace *p, const struct node *w, struct update u);
/* Whether it is a hidden matrix, or a stack of them. */
bool build_is_hidden(const struct node *w);
/* AdamW's step of a weight. REAL [3] */
struct node *build_adamw(struct build *b, const struct pace *p, const struct adam *a, struct node *w, struct node *grad,
                         struct update u);
/* Norms on which the `stack` matrices of w stay, REAL [E], not known before the first step; a weight that begins at
   zero has none. */
struct node *build_radius(struct build *b, const struct node *w, int64_t stack);
/* An optimizer's memory of a weight, zero at first: of its shape; the same, kept as state says (enum moment_as), each
   of `stack` matrices in blocks of its own; of another shape; of another, drawn from a normal distribution. */
struct node *build_moment(struct build *b, const char *which, const struct node *w);
struct node *build_moment_as(struct build *b, const char *which, const struct node *w, int state, int64_t stack);
struct node *build_memory_of(struct build *b, const char *which, const struct node *w, struct shape shape);
struct node *build_drawn(struct build *b, const char *which, const struct node *w, struct shape shape);

/* ---- of averages ---- */

/* A weight, or a buffer of the model's own, and its average. */
struct followed { struct node *average, *w; };
/* What it was at another time: a buffer, zero at first. */
struct node *build_copy(struct build *b, int number, const struct node *w);

/* ---- of guards ---- */

/* Which steps are far above those before; with it a guard's conf begins. */
struct outliers { int window; double sigma; };
#define OUTLIERS(type) \
    INT(type, window, 128, 4, 65536, "step", "steps that one is measured against"), \
    REAL(type, sigma, 6, 0.1, 1e6, "", "standard deviations above their mean that are too many")
/* A guard: the clip of a step, which stops it where it is one; metric `outlier`. */
struct node *build_outliers(struct build *b, struct pick self, struct node *clip, struct node *loss,
                            struct node *norm);

#endif
