/* The graph: one static array of nodes, in order of computation. A module adds nodes; nobody writes a
   backward pass outside an op. The first error sticks in graph->err and every later call returns graph->poison, a
   node like any other that nothing runs: modules contain no checks. */
#ifndef SLUICE_GRAPH_H
#define SLUICE_GRAPH_H

#include "base/mesh.h"
#include "base/shape.h"
#include <string.h>

enum { NODE_OUTS = 4, NODE_SAVES = 4, NODE_WORKS = 4 };

/* Dtypes are roles. ACT: bf16 or real, chosen per plan. REAL: never below float32 (statistics, scores,
   gates, losses, master weights, gradients of weights). */
enum dtype { DTYPE_ACT, DTYPE_REAL, DTYPE_I32, DTYPE_U8 };

/* What a weight reads, as widths of models go: as much in all of them (a token, a channel, a rank, a width of heads);
   as much as the stream is wide; as feed-forwards are; or the stream, to say logits of it. */
enum weight_reads { READS_SAME, READS_STREAM, READS_HIDDEN, READS_OUT };

/* What a weight, or the matmul that uses it, is: the one selector for init, decay, optimizer group, precision. One line
   each: outside: no hidden matrix, so that Muon leaves it to AdamW; exempt: no weight decay, gains unless the
   optimizer decays them; real: what it makes are scores, which are REAL; reads: where nothing else is said. */
#define ROLE_LIST(X) /* constant, name, about, outside, exempt, real, reads */ \
    X(EMBED,    "embed", "vectors of tokens, also where the head is tied to them", true, true, false, SAME) \
    X(HEAD,     "head", "an untied head", true, false, false, OUT) \
    X(Q,        "q", "projection to queries", false, false, false, STREAM) \
    X(K,        "k", "projection to keys", false, false, false, STREAM) \
    X(V,        "v", "projection to values", false, false, false, STREAM) \
    X(OUT,      "out", "projection of attention's heads", false, false, false, STREAM) \
    X(GATE,     "gate", "gates of attention's heads and of shared experts", false, false, true, STREAM) \
    X(FFN_GATE, "ffn_gate", "gate of a feed-forward, of shared experts or of each expert", false, false, false, \
      STREAM) \
    X(FFN_UP,   "ffn_up", "its projection up", false, false, false, STREAM) \
    X(FFN_DOWN, "ffn_down", "its projection down", false, false, false, HIDDEN) \
    X(ROUTER,   "router", "scores of experts", false, false, true, STREAM) \
    X(STREAM,   "stream", "residual streams to how they are read, written and mixed", true, true, true, STREAM) \
    X(TABLE,    "table", "rows of hashed n-grams", true, true, false, SAME) \
    X(MIX,      "mix", "n-grams to the model's width; what joins token and trunk in multi-token prediction", \
      false, false, false, STREAM) \
    X(GAIN,     "gain", "gains of norms", true, true, false, SAME) \
    X(TAPS,     "taps", "short convolutions, of each channel its own", true, false, false, SAME) \
    X(SCALAR,   "scalar", "factors on streams, branches and values; offsets; rates of a memory's decay", true, true, \
      false, SAME) \
    X(LATENT_DOWN, "latent_down", "from the model's width to that of routed experts, or of attention's latents", \
      false, false, false, STREAM) \
    X(LATENT_UP, "latent_up", "back from it", false, false, false, STREAM) \
    X(LORA_A, "lora_a", "of an adapter: from what its weight reads to the adapter's rank", false, false, false, \
      STREAM) \
    X(LORA_B, "lora_b", "of an adapter: from its rank to what its weight writes", false, false, false, SAME)

#define ROLE_ENUM(upper, ...) ROLE_##upper,
enum role { ROLE_LIST(ROLE_ENUM) ROLE_COUNT };
extern const struct role_rule {
    const char *name, *about;
    bool outside, exempt, real;
    enum weight_reads reads;
} role_rule[ROLE_COUNT];

/* ahead: once per micro-batch, for all of a step before the first forward pass; reads inputs alone, and what it
   carries is that of the whole step when micro reads it. micro: once per micro-batch, with gradients. update:
   once per optimizer step. */
enum region { REGION_AHEAD, REGION_MICRO, REGION_UPDATE, REGIONS };

/* How a carry combines the micro-batches of one step. */
enum carry { CARRY_SUM, CARRY_MEAN, CARRY_MAX, CARRY_LAST };

/* How a leaf is filled before step 0: a rule, so that planning a large model allocates and draws nothing. */
struct init {
    /* diagonal: `value` on it, 0 elsewhere; uniform: from `value` to `value + std`; log_uniform: logarithms of such */
    enum { INIT_CONSTANT, INIT_NORMAL, INIT_DIAGONAL, INIT_UNIFORM, INIT_LOG_UNIFORM } kind;
    double value, std, cut;                                     /* cut: truncation in std, 0 none */
    int first;                                                  /* the column in which a diagonal begins */
};

struct node;
struct graph;
struct param;

/* A tensor that an op declares while it infers: an output, something kept for backward, or scratch. */
struct decl { struct shape shape; enum dtype dtype; };

/* Algorithmic cost of one use of an op: FLOPs of the forward pass (1 MAC = 2) and bytes read and written. */
struct cost { double flops, bytes; };

enum op_kind { OP_COMPUTE, OP_LEAF, OP_ALIAS };             /* alias: the node is another node's memory */

struct op {
    const char *name;
    const char *about;                                      /* what the outputs are, in one sentence or a few */
    const char *inputs, *outputs;                           /* "x[T,K] w[N,K] pos?:I32[1]": see graph/signature.h */
    const struct param *attributes; size_t attr_size;       /* what it knows beside its inputs; NULL: nothing */
    const int *index;                                       /* OP_<name>, the row of every backend's table */
    enum op_kind kind;
    int (*infer)(struct node *n, struct err *e);            /* declares shape, dtype, out[], save[], work[] */
    void (*cost)(const struct node *n, struct cost *c);     /* NULL: no algorithmic FLOPs */
    bool gradient;                                          /* has a backward kernel */
    unsigned no_grad, no_grad_out;    /* bit i: input i gets, output i passes no gradient (integers never do) */
    bool in_place;                                          /* output 0 is the memory of input 0 */
    unsigned factors;    /* bits of inputs that are matrices of a product, whose gradients cost as much as it does */
    unsigned reads_in, reads_out;                           /* bits of the inputs and outputs that backward reads */
    /* bits of the inputs of which row r, with the others as a whole, gives row r of every output; 0: not row by row */
    unsigned rows;
    bool rows_back;                                         /* backward likewise, for the gradients of these inputs */
    unsigned groups;                                        /* bit of the input that holds where groups of rows begin */
    unsigned looks_up;    /* bits of the tables of which a row of output 0 reads one row */
    unsigned bridges;                                       /* bits of the outputs that later regions read: a carry */
    bool cheap;                                             /* may be computed again in backward rather than kept */
    bool again;    /* is so always, where backward reads it */
    bool once;    /* of a weight it is computed once a step, and kept for all micro-batches */
    bool travels, travels_back;    /* forward, backward is a message to other ranks, and from them */
    bool joins;    /* can run forward and backward at once, where nothing else needs its value */
    unsigned packs;                                         /* bits of the inputs that are read as packed weights */
};

static inline int op_index(const struct op *op) { return *op->index; }
static inline bool op_changes(const struct op *op) { return op->inputs && strchr(op->inputs, '*'); }

/* Whether a set of inputs or outputs has number i. */
static inline bool has_bit(unsigned bits, int i) { return i < 32 && bits >> i & 1; }

enum leaf_kind { LEAF_INPUT, LEAF_CONTROL, LEAF_WEIGHT, LEAF_BUFFER, LEAF_GRAD };

/* Value of a control at 0-based step `step` of `steps`; conf is what the module resolved from the script. */
struct control {
    double (*at)(const void *conf, double scale, int64_t step, int64_t steps);
    const void *conf;
    size_t conf_size;
    double scale;
};

/* A named tensor from outside the graph. Leaves live in a set that the graphs of one model (train, eval,
   decode) share, so that they use the same memory; asking again for a path returns the same leaf. */
struct leaf {
    enum leaf_kind kind; const char *path; enum role role; struct decl decl; struct init init;
    int layer;    /* of a weight: the layer that it belongs to, -1 for none; MTP blocks count from L */
    bool everywhere;    /* a buffer that goes with a weight, and that every rank reads */
    bool transient;                                         /* buffer not kept in checkpoints (KV cache) */
    bool of_training;    /* a buffer that training alone reads: nothing averages it */
    bool of_update;      /* a buffer that the update alone reads, once a step: it may lie in the host's memory */
    int64_t window;                                         /* of a cache: how many positions are read back; 0: all */
    int64_t fixed;    /* of a ring that does not grow with the context: entries that decoding needs; 0: a cache */
    enum weight_reads reads;                                       /* of a weight */
    bool frozen;    /* a weight that nothing changes: no gradient reaches it, and there is no memory for one */
    enum kept_as kept; struct shape values;    /* what values are kept in, and their shape; decl's is of what is kept */
    int stack;    /* leading dimension counts independent matrices (experts); 1 otherwise */
    int heads;    /* of a weight whose rows are those of so many heads of attention, one after the other; 1 otherwise */
    /* Ranks over these axes have a part of it each, along dimension `cut`: decl is of that; whole: of all of it. over:
       each computes with its own; shard: of which again each keeps a part, and they are gathered where they are used.
       Those who have the same part are its replicas. read: each has all of it and reads a part, so that gradients add
       up. */
    unsigned over, shard, read; int cut; struct shape whole;
    int home;    /* in a pipeline the rank, by its place along pp, that alone has it, counted from 1; 0: all have */
    /* which of the replicas alone updates the weight, and keeps the buffer, counted from 1; 0: every one does */
    int holder;
    double active;    /* share of the weight that one token uses (k/E); 1 otherwise */
    const struct leaf *of;    /* LEAF_GRAD: the weight; a buffer that is an average: what it follows */
    struct control control;                                 /* LEAF_CONTROL */
    int id; size_t offset;                                  /* place in its slab */
    size_t packed_bytes, packed;                            /* its packed form and where it lies; 0: none is wanted */
};
/* closed: no further weight is taken; offload: buffers of the update lie in the host's memory; overlap: messages
   between ranks go beside calls; here: the rank whose they are. */
struct leaves {
    struct arena *arena; int n, room; struct leaf **leaf; bool closed, offload, overlap;
    struct place here;
    /* of a pipeline, n 0 or 1: there is none. home: the rank of a stage, by its place along pp; first: its first layer,
       NULL until a graph decides; schedule: enum pipeline, of so many chunks a rank and micro-batches a step at most.
       staged: homes of weights are known */
    struct stages { int n, *home, *first, schedule, chunks, micros; } stages; bool staged;
    int n_slots, *slot;                                     /* by hash of the path: number of a leaf + 1, 0: none */
};
struct leaves *leaves_new(void);
void leaves_free(struct leaves *l);
struct leaf *leaves_find(const struct leaves *l, const char *path);
const struct leaf *leaves_average(const struct leaves *l, const struct leaf *of);       /* NULL: it has none */
static inline unsigned leaf_replicas(const struct leaf *l)
{
    return OVER_ALL & ~(l->over | l->shard | (l->home ? OVER_PP : 0));
}
static inline bool home_is_here(int home, const struct place *p)
{
    return !home || place_index(p, OVER_PP) == home - 1;
}
/* How many parts it has, and which of them a rank keeps. */
static inline int leaf_parts(const struct leaf *l, const struct place *p)
{
    return place_group(p, l->over) * place_group(p, l->shard);
}
static inline int leaf_part(const struct leaf *l, const struct place *p)
{
    return place_index(p, l->over) * place_group(p, l->shard) + place_index(p, l->shard);
}
static inline bool leaf_trains(const struct leaf *l) { return l->kind == LEAF_WEIGHT && !l->frozen; }
/* In a checkpoint, and what another state of the model is filled with. */
static inline bool leaf_is_saved(const struct leaf *l)
{
    return l->kind == LEAF_WEIGHT || (l->kind == LEAF_BUFFER && !l->transient);
}

struct node {
    const struct op *op;
    struct graph *graph;
    const char *path;                                       /* where it was emitted, for messages and costs */
    int id, layer;                                          /* position in graph->node; layer of the model or -1 */
    int stage, home;    /* of the micro-batch: of a pipeline; of the update: as a leaf's */
    enum region region;
    int n_in; struct node **in;    /* as op->inputs names them; NULL: an optional one that is absent */
    const void *attr; size_t attr_size;
    struct shape shape; enum dtype dtype;                   /* of the value: output 0 */
    int n_out, n_save, n_work;                              /* out[0] repeats shape and dtype */
    struct decl out[NODE_OUTS], save[NODE_SAVES], work[NODE_WORKS];
    struct leaf *leaf;                                      /* op_leaf */
    int output;                                             /* op_result: which output of in[0] */
    enum carry carry;                                       /* op_carry */
    bool grad;                                              /* a gradient can reach it */
    bool output_of_graph;                                   /* kept to be read after the step (logits) */
};

/* Called from infer. */
void node_value(struct node *n, enum dtype dtype, struct shape shape);       /* output 0 */
int node_output(struct node *n, enum dtype dtype, struct shape shape);       /* a further output; returns its number */
int node_save(struct node *n, enum dtype dtype, struct shape shape);         /* kept for backward */
int node_work(struct node *n, enum dtype dtype, struct shape shape);         /* scratch of forward and of backward */

/* The node in whose memory, as which of its outputs, the value of n lies: n's own, or what it is a view of. */
struct root { const struct node *node; int output; };
struct root node_root(const struct node *n);
bool node_wants(const struct node *n, int input);           /* a gradient of that input */

/* What a metric says: the sum of its terms, each weight times what a carry holds, over what `over` holds, one number or
   one for each value (NULL: a mean is over the micro-batches of all ranks, all else as it is), or the square root of
   that. No weight at all, 0 / 0, is no value: NaN. */
struct term { double weight; struct node *carry, *over; bool root; };
struct probe { const char *name, *unit, *about; enum better better; int layer, n; const struct term *term; };
/* value: REAL [1]; of_step: a micro-batch's part of a sum over the step, else the step's is the
   mean over micro-batches. */
struct loss { const char *name; struct node *value; double weight; bool of_step; };

struct graph {
    struct arena *arena; struct leaves *leaves; struct err err; bool failed;
    int n, room; struct node **node;
    int n_leaves; struct node **leaf_node;                  /* of a leaf in a region; NULL: there is none yet */
    enum region region; int layer; const char *path;        /* given to the next nodes */
    struct node *poison;                                    /* what every call gives after the first error */
    bool keep;                                              /* every value stays readable after a step (tests) */
    int fail_at;                                            /* fails at the node of this number, 0: never (tests) */
    int n_probes, probe_room; struct probe *probe;
    int n_losses, loss_room; struct loss *loss;
};

struct graph *graph_new(struct leaves *leaves);
void graph_free(struct graph *g);

/* Adds a node. `inputs` are n node pointers, in the order of op->inputs; NULL, or less than all: optional ones that are
   absent. attr, op->attr_size bytes, is copied, and hashed by the fingerprint: it has no padding. */
struct node *graph_emit_n(struct graph *g, const struct op *op, const void *attr, int n, struct node *const *inputs);
#define graph_emit(g, op, attr, ...) \
    graph_emit_n(g, op, attr, COUNT(((struct node *[]){ __VA_ARGS__ })), (struct node *[]){ __VA_ARGS__ })
struct node *graph_fail(struct graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));   /* poison */

/* Structural nodes. */
struct node *graph_input(struct graph *g, const char *name, enum dtype dtype, struct shape shape);
struct node *graph_weight(struct graph *g, const char *path, enum role role, struct shape shape, struct init init);
/* w, which from here on is frozen: before anything reads it. */
struct node *graph_freeze(struct node *w);
/* A frozen weight whose values, of this shape, are kept in codes: U8, as base/nf4.h has them. */
struct node *graph_codes(struct graph *g, const char *path, enum role role, struct shape values, struct init init,
                         enum kept_as kept);
/* A weight of this whole shape, of which this rank has, or reads, its part: `dim`, the first dimension or one of a
   matrix, is cut among the ranks over these axes. */
struct partition { int dim; unsigned over, shard, read; };
struct node *graph_weight_cut(struct graph *g, const char *path, enum role role, struct shape whole, struct init init,
                              struct partition cut);
struct node *graph_buffer(struct graph *g, const char *path, enum dtype dtype, struct shape shape, double value);
/* A buffer that goes with a weight, cut as that is: of its part, and of no other width along what is cut. */
struct node *graph_buffer_of(struct graph *g, const char *path, enum dtype dtype, struct shape part,
                             const struct leaf *w);
struct node *graph_control(struct graph *g, const char *name, struct control control);  /* REAL [1] */
struct node *graph_grad_of(struct graph *g, struct leaf *weight);    /* update: REAL, shape of weight */
struct node *graph_average_of(struct graph *g, struct leaf *of);    /* a buffer "average.PATH", filled as PATH is */
struct node *graph_leaf(struct graph *g, struct leaf *leaf);    /* the node of a leaf of the set */
struct node *graph_result(struct graph *g, struct node *n, int output);                 /* a further output as a node */
struct node *view(struct graph *g, struct node *x, struct shape shape);                 /* same memory, same count */
struct node *detach(struct graph *g, struct node *x);                                   /* same memory, no gradient */

void graph_probe(struct graph *g, const char *name, const char *unit, enum better better, const char *about, int n,
                 const struct term *term);
void graph_loss(struct graph *g, const char *name, struct node *value, double weight, bool of_step);

/* Everything that decides what is computed: ops, attributes, shapes, edges, regions, leaves with init rules,
   controls at each of so many steps, losses. Probes do not enter. */
struct hash graph_fingerprint(const struct graph *g, int64_t steps);

extern const struct op op_leaf, op_result, op_view, op_detach;   /* op_carry is in ops.h */

static inline int64_t probe_count(const struct probe *p) { return shape_count(p->term[0].carry->shape); }

#endif
