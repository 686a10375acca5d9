/* Ranks: processes that train one model together, each on its part of every batch. They are launched by mpirun or srun;
   MPI carries what they tell each other. A process that was launched alone is rank 0 of 1.

   Every rank calls the same functions in the same order. A rank that does not answer within SLUICE_COMM_TIMEOUT seconds
   (600), or that asks for something else, is named, and the process leaves with exit code 7. A rank that leaves with
   another code than 0 before comm_leave takes the others with it. */
#ifndef SLUICE_COMM_H
#define SLUICE_COMM_H

#include "base/mesh.h"

enum reduction { REDUCE_SUM, REDUCE_MAX };

/* What goes to another rank, or comes from it. */
struct parcel { int peer; bool receives; void *data; size_t bytes; };

/* over: axes of the mesh; those who do a thing together differ from this rank along these alone. */
struct comm {
    int rank, ranks, local, locals;    /* local: its number among the `locals` ranks of this machine */
    double patience;                                        /* seconds that it waits for another rank */
    struct place place;                                     /* in the mesh that comm_divide set; before: all alike */
    void (*broadcast)(void *data, size_t bytes, int root, unsigned over);
    /* in the order of ranks: every rank gets the same bits; NaN stays */
    void (*reduce)(float *data, int64_t n, enum reduction how, unsigned over);
    /* All of them at once. What one rank sends, its peer receives, as many bytes and in this order. */
    void (*exchange)(const struct parcel *parcels, int n);
    /* Between two ranks by a channel, in which what is given comes in its order: take waits for it, give does not, and
       its memory is free at once. */
    void (*give)(const struct parcel *p, int channel);
    void (*take)(const struct parcel *p, int channel);
    void (*leave)(void);
};

/* What the environment says of this process: rank 0 of 1 when it was launched alone. -1: it contradicts
   itself, and e says how. */
int comm_look(int *rank, int *ranks, struct err *e);

/* Joins the ranks that this process was launched with. -1: the environment contradicts itself or names ranks that
   cannot be joined, and e says what and how to launch. To be called once, in the process that trains, by every rank. */
int comm_join(struct err *e);
void comm_leave(void);
const struct comm *comm_here(void);                         /* alone, until comm_join says otherwise */
/* For who plans, alone: what is planned from here on is that rank's of so many, and nobody is there to tell anything.
   0 of 1: no longer. */
void comm_suppose(int rank, int ranks);
/* By all ranks, which are as many as the mesh has: what `over` means from here on. */
void comm_divide(const struct mesh *m);
/* Says on stderr which rank it is and why, and ends it with exit code 7. */
void comm_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void comm_send(const void *data, size_t bytes, int to);
void comm_receive(void *data, size_t bytes, int from);

/* Rank 0 leads: it says what is done next, the others follow. It reads and writes all files, but for what each rank
   keeps of a checkpoint. */
enum order_kind {
    ORDER_POINT,
    ORDER_OPEN,
    ORDER_STEP,
    ORDER_EVALUATE,
    ORDER_SHARE,
    ORDER_GET,
    ORDER_PUT,
    ORDER_SAVE,
    ORDER_LOAD,
    ORDER_LEAVE_POINT,
    ORDER_END
};
struct order { enum order_kind kind; int64_t value; };      /* point, step, leaf */
void comm_order(enum order_kind kind, int64_t value);       /* on rank 0; alone it does nothing */
struct order comm_follow(void);                             /* on the others: the next order */

/* What the shared object that joins ranks exports as `comm_entry`. interface: see base/object.h. */
struct comm_entry {
    uint64_t interface;
    struct comm *(*join)(int rank, int ranks, double patience, struct err *e);
};

#endif
