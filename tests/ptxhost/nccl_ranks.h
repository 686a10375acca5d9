/* The ranks of one communicator: processes that share a segment of memory, which is named by the unique id or agreed on in a split. */
#ifndef SLUICE_PTXHOST_NCCL_RANKS_H
#define SLUICE_PTXHOST_NCCL_RANKS_H

#include <nccl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RANKS = 16, CHUNK = 256 << 10, BOX = 64 << 10 };

enum op { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, REDUCE, SPLIT, SEND, RECV };

/* What a rank calls; the other ranks have to call the same. number: counts collectives of the communicator, or messages from one rank to
   another. No padding: calls are compared as bytes. */
struct call { uint64_t number, count; int32_t op, type, reduction, root; };

enum presence { ABSENT, PRESENT, LEFT, FAILED };

/* What a rank shows to the others. reached: how often it has come to a meeting of all. exchange: odd while it exchanges messages, of
   which those with the ranks in two masks have not ended; the next has another number. child: a name that no segment has. */
struct seat {
    _Atomic uint64_t reached; _Atomic int presence; int64_t process; int32_t ranks; struct call call;
    _Atomic uint64_t exchange; _Atomic uint32_t sends, receives;
    int32_t color, key; char child[64];
};

/* A message on its way from one rank to another, a piece at a time: there is one when filled != emptied. */
struct box { _Atomic uint64_t filled, emptied; uint64_t bytes; struct call call; char data[BOX]; };

struct segment { struct seat seat[RANKS]; struct box box[RANKS][RANKS]; char chunk[RANKS][CHUNK]; };

struct ncclComm {
    bool live; int rank, ranks, device, file; struct segment *shared; char name[64];
    bool split, splits; int first[RANKS];                   /* made by a split; splits now; its ranks' numbers in the communicator of ncclCommInitRank */
    uint64_t collectives, sent[RANKS], received[RANKS];     /* calls so far */
    cudaEvent_t order; int64_t pending;                     /* operations that streams have; those of graphs are not counted */
    const struct batch *running; int64_t at; uint64_t turn; /* where in it */
    struct message *message; int64_t messages;              /* of what runs */
    double since, looked;                                   /* since when nothing moves, 0: it does; when others were looked for */
    uint32_t gone;                                          /* who was not there then */
    ncclResult_t error; char why[1024];                     /* broken: nothing runs any more */
};

bool comm_is_live(const struct ncclComm *c);                /* nccl_comm.c */

const char *op_name(enum op op);
const char *call_text(const struct call *c, char text[160]);

void ranks_name(char name[64]);                             /* a name that no segment has */
bool ranks_join(struct ncclComm *c, const char *name);      /* waits for all */
void ranks_leave(struct ncclComm *c, enum presence how);

/* Break the communicator, for all ranks. A mistake of the program is reported; the end of a process is only told. */
bool ranks_mistake(struct ncclComm *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A meeting of all ranks: this one comes, and later asks who has not. Ranks are masks. */
void ranks_come(struct ncclComm *c);
uint32_t ranks_missing(struct ncclComm *c);
bool ranks_same(struct ncclComm *c, const struct call *call);           /* compares what each rank has shown in its seat before it came */

/* Nothing has moved: now and then looks for those who are missing. False: the communicator is broken. */
bool ranks_look(struct ncclComm *c, const struct call *call, uint32_t missing);
void ranks_moved(struct ncclComm *c);
bool ranks_meet(struct ncclComm *c, const struct call *call);           /* in a call that returns when all have come */

#endif
