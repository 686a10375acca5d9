/* The plan of a graph: order, gradients, memory offsets and cost, known before step 0; and the memory that
   the plans of one model share. Planning allocates no tensor. */
#ifndef SLUICE_PLAN_H
#define SLUICE_PLAN_H

#include "backend/backend.h"

enum precision { PRECISION_FP32, PRECISION_BF16 };
/* What is computed again for backward rather than kept. selective: the values of cheap ops; full: all that a layer
   makes, but for what others read of it */
enum recompute { RECOMPUTE_NONE, RECOMPUTE_SELECTIVE, RECOMPUTE_FULL };
struct plan_how { const struct backend *backend; enum precision precision; enum recompute recompute; };

/* What leaves lie in, by their kind. frozen: weights without gradients; packed: copies of weights, for products;
   offloaded: in the host's memory, beside a device's. */
enum slab {
    SLAB_WEIGHTS, SLAB_FROZEN, SLAB_PACKED, SLAB_BUFFERS, SLAB_OFFLOADED, SLAB_CONTROLS, SLAB_INPUTS, SLAB_GRADS, SLABS
};
struct state_bytes { size_t of[SLABS]; };
struct state_bytes state_layout(struct leaves *l);          /* gives every leaf its offset */

/* Bytes by slab, and the algorithmic cost of one micro-batch forward pass. Backward is twice the forward, without the
   products that would be gradients of frozen weights. */
struct plan_report {
    /* weights: those that are trained; inputs: with controls; arena: with scratch of the backend; offloaded: in the
       host's memory, not in total */
    size_t weights, frozen, packed, grads, buffers, inputs, carries, arena, total, offloaded;
    double forward_flops, train_flops, forward_bytes;
};

struct plan;
int plan_new(struct plan **out, struct graph *g, struct plan_how how, struct err *e);
void plan_free(struct plan *p);
const struct plan_report *plan_report(const struct plan *p);
/* of both over one state; they share an arena, unless they are pipelines. NULL: none */
size_t plan_bytes(const struct plan *p, const struct plan *other);

/* Memory of all leaves of a set. */
struct state;
/* after all graphs of the set are built */
struct state *state_new(struct leaves *l, const struct backend *b, int threads);
void state_free(struct state *s);
void state_fill(struct state *s, uint64_t seed);            /* weights and buffers by their rules, keyed by path */
/* All of a leaf, wherever parts of it lie. With several ranks for rank 0 alone, who orders the others to answer. */
void state_put(struct state *s, const struct leaf *l, const void *from);
void state_get(struct state *s, const struct leaf *l, void *to);
/* The l->values of a weight, a buffer or a quantised weight, as numbers: what is kept in codes is quantised on its way
   in, on the host, and put as it is else. */
void state_put_values(struct state *s, const struct leaf *l, const real *values);
void state_get_values(struct state *s, const struct leaf *l, real *to);
/* for micro-batch `micro` of the next plan_step */
void state_stage(struct state *s, const struct leaf *input, int micro, int micros, const void *from);
size_t state_staged_bytes(struct leaves *l, int micros);     /* what staging takes beside the slabs */
/* Fills weights and buffers, by path, from another state of the same model, or with the averages of those that have
   one. */
int state_copy(const struct leaves *to, struct state *into, const struct leaves *from, struct state *from_state,
               struct err *e);
void state_answer(struct state *s, struct order o);         /* of other ranks, to put and get of rank 0 */
void state_share(struct state *s);    /* what replicas have alike becomes that of the first of them */
/* What this rank has of a leaf, its part or all: put and got by this rank alone. begin: its first place along l->cut.
   foreign: it has none, since the leaf is elsewhere, or a buffer that another rank keeps; writes: of those that have
   the same part, this one is to say what it is. */
bool state_is_foreign(const struct leaf *l), state_writes(const struct leaf *l);
int64_t state_begin(const struct leaf *l);
void state_put_part(struct state *s, const struct leaf *l, const void *from);
void state_get_part(struct state *s, const struct leaf *l, void *to);
size_t leaf_bytes(const struct leaf *l);                     /* of what this rank has */
size_t leaf_whole_bytes(const struct leaf *l);
void *state_data(const struct state *s, const struct leaf *l);               /* address in the backend's memory */

/* Gives a plan its memory over a state; plans that never run at once may share the arena of the first, NULL: its own.
   Then, for each step: plan_begin, which writes the controls; stage the inputs of all micro-batches; plan_step. It
   goes forward and backward through each micro-batch and updates, on a backend that records as one recording;
   false: go_on (NULL: always) said so before the update, and nothing has changed. Or, for one micro-batch at a
   time: put the inputs, plan_forward, plan_backward; then plan_update; several that have losses begin with
   plan_ahead, with the inputs of each. */
void plan_bind(struct plan *p, struct state *s, struct plan *shares);
void plan_begin(struct plan *p, int64_t step, int64_t steps, int micros);
real plan_control(const struct plan *p, const struct leaf *l);    /* its value in the step that plan_begin began */
bool plan_step(struct plan *p, bool (*go_on)(void));
void plan_ahead(struct plan *p, int micro);
void plan_forward(struct plan *p, int micro);
void plan_backward(struct plan *p, int micro);
void plan_update(struct plan *p);

/* Values after the step: what a node holds, converted to double. Means are over the micro-batches. plan_gather brings
   all carries to the host at once; until the next plan_begin they are read from there. After plan_fetch it brings them
   as they were then, though another step was given meanwhile, and waits for no more than that. */
void plan_fetch(struct plan *p);
void plan_gather(struct plan *p);
/* after plan_forward alone (evaluation): what ranks carry becomes that of all; plan_update does it by itself */
void plan_combine(struct plan *p);
/* Before an evaluation weights and their averages change places, where there are averages, and after it once more;
   what lies in the arena is lost. */
void plan_swap_averages(struct plan *p);
void plan_read(struct plan *p, const struct node *n, double *to);
void plan_read_probe(struct plan *p, const struct probe *probe, double *to);
bool plan_computes(const struct plan *p, const struct node *n);              /* false: nothing needs it */
/* for tests: calls of op `second` that those of `first` compute as well */
int plan_fused(const struct plan *p, int first, int second);
/* For tests: the gradient of a node after plan_backward (NULL memory gives false), and writing a node's value. */
bool plan_read_grad(struct plan *p, const struct node *n, double *to);

/* Time of each op, summed since the last call with reset; for sluice bench. */
struct op_time { const char *name; double forward_seconds, backward_seconds, flops, bytes; int64_t calls; };
void plan_timing(struct plan *p, bool on);
struct op_time *plan_times(struct plan *p, int *count);      /* of those that were timed, malloc'd */
double plan_executed_flops(const struct plan *p);    /* algorithmic FLOPs of all micro-region kernels called so far */

/* What a step costs by its plan: calls take for every call of a step of so many micro-batches. bytes: those that it
   cannot avoid to move; format: in which it multiplies. */
struct call_cost { const struct node *node; enum format format; double flops, bytes; };
void plan_costs(const struct plan *p, int micros, void (*take)(void *to, const struct call_cost *c), void *to);

#endif
