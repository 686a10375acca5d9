/* What planning and executing share. */
#ifndef SLUICE_PLAN_PRIVATE_H
#define SLUICE_PLAN_PRIVATE_H

#include "graph/filled.h"
#include "pipeline.h"
#include "offsets.h"
#include "state.h"

/* How ranks combine what is carried: add, ahead of the first forward pass or after the last; take the largest; keep
   their own, but of another stage that of its rank; add what updates say of themselves; hear of it from its home; each
   has it. */
enum bridge { BRIDGE_AHEAD, BRIDGE_SUM, BRIDGE_MAX, BRIDGE_LAST, BRIDGE_CHANGE, BRIDGE_HOME, BRIDGE_OWN, BRIDGES };

/* One stored tensor: an output of a compute node, its gradient, a saved or a work tensor. */
struct storage {
    struct decl decl;
    enum { IN_ARENA, IN_CARRIES, IN_LEAF, IN_SLOT } where;
    const struct leaf *leaf;
    bool gradient;
    enum bridge bridge;
    bool kept;    /* in a stage: it comes from another of this rank, at any time while its micro-batch is in flight */
    bool once;                                              /* it is that of all micro-batches of a step */
    int phase, span;
    size_t offset;
    int from, to;
};

enum { NONE = -1 };
/* A node's calls: forward; backward; forward once more in the backward walk. */
enum pass { FORWARD, BACKWARD, RECOMPUTE, PASSES };

/* What planning knows of a node: its storage, and when its calls run. joint: forward and backward are one call.
   follows: the joint node whose call its forward call follows, or NONE. recompute: may be computed again for backward,
   into the storages `again` and `resaved`. phase: of an update, see update.c; precedes: a change of a weight depends on
   it. */
struct planned {
    int value[NODE_OUTS], grad[NODE_OUTS], save[NODE_SAVES], work[PASSES][NODE_WORKS];
    int again[NODE_OUTS], resaved[NODE_SAVES];
    unsigned comes;                                         /* bits of the outputs that come from an earlier stage */
    bool live, here, backward, joint, recompute, once, precedes;    /* here: this plan runs it; once: a step */
    int follows, time[PASSES], chain[PASSES], phase;
};

/* fused: kernel of this call and a later one, which is `follower`: it has no kernel of its own. */
struct call {
    const struct node *node;
    enum pass pass;
    bool joint, follower;
    int chain;
    /* a message that goes beside the calls after it, by the number that the backend gave it; and the last one that has
       to be there before this call, NULL: none */
    bool beside; int64_t ticket; const struct call *awaits;
    kernel *fused, *run;
    struct args args;
    real *beta[2];
    double flops, back, bytes;                              /* FLOPs of the forward pass, of the backward pass */
    struct filled filled;                                   /* of rows for which there is room, those that come */
};
struct calls { int n, room; struct call *call; };

/* What a plan is of: everything; of a pipeline all but the micro-batch; or a stage, by its number. */
enum { PART_ALL = -1, PART_REST = -2 };

/* A value that stage s reads and an earlier one made, or that it makes or passes on and a later one reads: where it is
   in this plan, and its gradient; NONE: none crosses. */
struct crossing { const struct node *node; int output, value, grad; };
struct crossings { int n; struct crossing *crossing; };

struct plan {
    struct arena *arena; struct graph *graph; struct plan_how how;
    int part;
    /* of a pipeline: the schedule for so many micro-batches, and the plans of this rank's stages, by chunk */
    struct schedule schedule; struct arena *table; struct plan **chunk; int n_chunks;
    bool trains;    /* of a pipeline: some stage goes backward, of whichever rank */
    /* by leaf the last of this rank's stages that writes its gradient, or NONE; leaves of which none does, nor has one
       of them its home */
    int *writer, n_unwritten; const struct leaf **unwritten;
    /* of a stage: what comes from the one before and goes to the one after; gradients of weights, where they are
       computed by themselves; slots for micro-batches in flight, of so many bytes, and who holds them; and tensors
       that lie in them */
    struct crossings incoming, outgoing; struct calls weight;
    int first;                                              /* of a stage, the micro-batch that it does first */
    int slots, *holds; size_t slot_bytes; char *slot_memory;
    int n_slotted; struct slotted { void **data; size_t offset; } *slotted;
    struct filled *filled;                                  /* by node, while it is planned */
    int first_backward, end;                                /* times: of the first backward call, after the last call */
    int n_ahead, n_once, n_forward, n_order; struct entry { const struct node *node; enum pass pass; } *order;
    struct planned *planned; int n_storages, room; struct storage *storage;
    struct plan_report report;
    struct calls ahead, once, forward, backward, update;
    int n_seeds; struct seed { int storage; double weight; bool of_step; } *seed;
    struct state *state; bool borrows; char *memory, *carries;     /* borrows: the arena of another plan */
    void **separate;                                                /* or an allocation for each storage */
    size_t scratch, seeds;                                  /* where they lie: in the arena, among the carries */
    size_t scratch_bytes;                                   /* of calls one after the other; beside them comes more */
    char *seed_memory; size_t arena_bytes;
    /* The carries as the host last saw them, of a step of so many micro-batches of all ranks. */
    char *gathered; bool fetching, is_gathered; int gathered_pieces;
    bool ran; void *recording; double recorded_flops;               /* of a step; after the first */
    /* carries of the region ahead lie up to aheads, others that ranks add up to sums, those of which they take
       the largest up to maxes */
    size_t aheads, sums, maxes, lasts, changes, homes;
    /* pieces of the gradients, how many backward calls make each ready, and the ranks that add theirs up */
    int n_buckets; struct bucket { size_t from, to; int ready; unsigned over; } *bucket;
    /* when the update calls up to `end` are done: leaves go from their holders to all, what lies at from..to of
       the carries is added up */
    int n_exchanges; struct exchange { int end, n; struct leaf **leaf; size_t from, to; } *exchange;
    struct step step; int64_t steps;
    bool timing; struct op_time *time; double executed;
    int n_stamped; const struct call **stamped;                     /* calls of which the device knows the times */
};

/* The leaf whose memory a node's value is; NULL: it is computed, or absent. */
static inline struct leaf *plan_leaf_of(const struct node *n) { return n ? node_root(n).node->leaf : NULL; }

/* It lives up to this time, or from it on. */
static inline void plan_extend(struct plan *p, int storage, int time)
{
    if (storage == NONE) return;
    if (time > p->storage[storage].to) p->storage[storage].to = time;
    if (time < p->storage[storage].from) p->storage[storage].from = time;
}

/* ---- pipelines ---- */

static inline bool pipe_is(const struct plan *p) { return p->part == PART_REST; }      /* of a pipeline, of no stage */
static inline struct plan *plan_chunk_at(const struct plan *p, struct stage_place at)       /* NULL: another rank's */
{
    return at.rank == place_along(&p->graph->leaves->here) ? p->chunk[at.chunk] : NULL;
}
/* What crosses: values to the stage after, gradients to the one before. */
enum { VALUES, GRADS };
static inline int crossing_storage(const struct crossing *x, int what) { return what == VALUES ? x->value : x->grad; }
void overlap_order(struct plan *p, int from, int to);       /* of the entries of a pass */
void overlap_find(struct plan *p, struct calls *calls);     /* which messages go beside which calls of a pass */
bool call_travels(const struct call *c);                    /* it is a message to other ranks, and from them */
void cross_find(struct plan *p);                            /* what a stage and its neighbours exchange */
/* Channels. slots: of any rank's stage, for micro-batches in flight, in the copy of the model that does this one.
   bytes: what the backend needs. number: of what a stage and the one after or before it exchange. */
int channels_slots(const struct plan *p, int stage, int micro);
size_t channels_bytes(const struct plan *p);
int channels_number(const struct plan *p, const struct plan *stage, int other, int what);
void channels_open(const struct plan *p);
void pipe_begin(struct plan *p);                            /* of a step: what no rank writes is nothing */
void pipe_step(struct plan *p);                             /* all micro-batches, by the schedule */
void pipe_forward(struct plan *p, int micro);               /* of an evaluation */
int plan_part(struct plan **out, struct graph *g, struct plan_how how, int part, struct err *e);
void plan_run(struct plan *p, struct call *c);
void plan_run_ahead(struct plan *p);
void plan_run_both(struct plan *forward, struct plan *backward);      /* calls of a stage while another's waits */
void plan_run_forward(struct plan *p);
void plan_run_backward(struct plan *p, int micro);
void plan_run_weight(struct plan *p, int micro);
void *plan_address(const struct plan *p, const struct storage *s);
static inline char *plan_seed(const struct plan *p, int i) { return p->seed_memory + (size_t)i * OFFSETS_ALIGNMENT; }
/* storage of a gradient, made where there is none */
int plan_grad_of(struct plan *p, const struct node *n, int output, int time);

void ranks_plan(struct plan *p);                                    /* what ranks exchange, and when */
void ranks_reduce_ahead(struct plan *p);
void ranks_reduce_carries(struct plan *p);
void ranks_share_homes(struct plan *p);                             /* what updates of a stage say, to all */
/* those that are complete when `done` backward calls have run */
void ranks_reduce_grads(struct plan *p, int *bucket, int done);
void ranks_share_updates(struct plan *p, int exchange);
void ranks_give(struct plan *p, const struct leaf *l);              /* what its holder has to all, up to meet */
bool ranks_mine(const struct call *update);                         /* this rank runs it */

int update_find(struct plan *p, struct err *e);                     /* phases and holders of the update region */
bool update_changes(const struct node *n, int input);               /* in place */
bool update_is_held(const struct node *n);    /* it changes a weight, or with one: its holder alone runs it */

void order_find(struct plan *p);                                    /* fills what `planned` says of order */
void chain_run(struct plan *p, struct call *call, int n);          /* consecutive calls of one chain */

struct call_cost plan_cost_of(const struct call *c, int micro);
void plan_account(struct plan *p, const struct call *c, double seconds);      /* a call has run */

enum format plan_format_of(const struct plan *p, enum dtype d);
size_t plan_decl_bytes(const struct plan *p, struct decl d);
int plan_value_storage(const struct plan *p, const struct node *n);    /* NONE: not computed */

#endif
