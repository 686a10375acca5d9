/* The plan of a graph: order, gradients, memory offsets and cost, known before step 0; and the memory that
   the plans of one model share. Planning allocates no tensor. */
#ifndef SLUICE_PLAN_H
#define SLUICE_PLAN_H

#include "backend.h"

enum precision { PRECISION_FP32, PRECISION_BF16 };
enum recompute { RECOMPUTE_NONE, RECOMPUTE_SELECTIVE };     /* selective: the values of cheap ops are made again for backward */
struct plan_how { const struct backend *backend; enum precision precision; enum recompute recompute; };

struct state_bytes { size_t weights, packed, grads, buffers, inputs; };
struct state_bytes state_layout(struct leaves *l);          /* gives every leaf its offset */

/* Bytes by slab, and the algorithmic cost of one micro-batch forward pass. Backward is twice the forward. */
struct plan_report {
    size_t weights, packed, grads, buffers, inputs, carries, arena, total;
    double forward_flops, train_flops, forward_bytes;
};

struct plan;
int plan_new(struct plan **out, struct graph *g, struct plan_how how, struct err *e);
void plan_free(struct plan *p);
const struct plan_report *plan_report(const struct plan *p);
size_t plan_bytes(const struct plan *p, const struct plan *other);          /* of both over one state; they share an arena. NULL: none */

/* Memory of all leaves of a set. */
struct state;
struct state *state_new(struct leaves *l, const struct backend *b, int threads);   /* after all graphs of the set are built */
void state_free(struct state *s);
void state_fill(struct state *s, uint64_t seed);            /* weights and buffers by their rules, keyed by path */
void state_put(struct state *s, const struct leaf *l, const void *from);
void state_get(struct state *s, const struct leaf *l, void *to);
size_t leaf_bytes(const struct leaf *l);
void *state_data(const struct state *s, const struct leaf *l);               /* address in the backend's memory */

/* Gives a plan its memory over a state; plans that run in turn may share the arena of the first, NULL: its own. Then, for each step: for each micro-batch put the inputs, plan_forward,
   plan_backward; then plan_update. Controls are written by plan_begin. */
void plan_bind(struct plan *p, struct state *s, struct plan *shares);
void plan_begin(struct plan *p, int64_t step, int64_t steps, int micros);
void plan_forward(struct plan *p, int micro);
void plan_backward(struct plan *p, int micro);
void plan_update(struct plan *p);

/* Values after the step: what a node holds, converted to double. Means are over the micro-batches. */
void plan_read(struct plan *p, const struct node *n, double *to);
/* For tests: the gradient of a node after plan_backward (NULL memory gives false), and writing a node's value. */
bool plan_read_grad(struct plan *p, const struct node *n, double *to);

/* Time of each op, summed since the last call with reset; for sluice bench. */
struct op_time { const char *name; double forward_seconds, backward_seconds, flops, bytes; int64_t calls; };
void plan_timing(struct plan *p, bool on);
int plan_times(struct plan *p, struct op_time out[OP_COUNT]);
double plan_executed_flops(const struct plan *p);           /* algorithmic FLOPs of all micro-region kernels called so far */

#endif
