/* The ranks of one communicator: processes that share a segment of memory, which is named by the unique id. */
#ifndef SLUICE_PTXHOST_NCCL_RANKS_H
#define SLUICE_PTXHOST_NCCL_RANKS_H

#include <nccl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RANKS = 16, CHUNK = 256 << 10, BOX = 64 << 10 };

enum op { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, REDUCE, SEND, RECV };

/* What a rank calls; the other ranks have to call the same. number: counts collectives of the communicator, or messages from one rank to
   another. No padding: calls are compared as bytes. */
struct call { uint64_t number, count; int32_t op, type, reduction, root; };

enum presence { ABSENT, PRESENT, LEFT, FAILED };

/* What a rank shows to the others. reached: how often it has come to a meeting of all. */
struct seat { _Atomic uint64_t reached; _Atomic int presence; int64_t process; int32_t ranks; struct call call; };

/* A message on its way from one rank to another, a piece at a time: there is one when filled != emptied. */
struct box { _Atomic uint64_t filled, emptied; uint64_t bytes; struct call call; char data[BOX]; };

struct segment { struct seat seat[RANKS]; struct box box[RANKS][RANKS]; char chunk[RANKS][CHUNK]; };

struct ncclComm {
    bool live; int rank, ranks, device, file; struct segment *shared; char name[64];
    uint64_t collectives, sent[RANKS], received[RANKS];     /* calls so far */
    ncclResult_t error; char why[512];                      /* broken: nothing runs any more */
};

const char *op_name(enum op op);
const char *call_text(const struct call *c, char text[160]);

void ranks_name(char name[64]);                             /* a name that no segment has */
bool ranks_join(struct ncclComm *c, const char *name);      /* waits for all */
void ranks_leave(struct ncclComm *c, enum presence how);

/* Break the communicator, for all ranks. A mistake of the program is reported; the end of a process is only told. */
bool ranks_mistake(struct ncclComm *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Wait until missing() says that no rank is waited for: it returns a mask of ranks. False: the communicator is broken. */
bool ranks_wait(struct ncclComm *c, const struct call *call, uint32_t (*missing)(struct ncclComm *c, void *data), void *data);
bool ranks_meet(struct ncclComm *c, const struct call *call);
bool ranks_agree(struct ncclComm *c, const struct call *call);      /* meets, then compares what each rank calls */

#endif
