/* Operations of one communicator, on their stream: what they are, and how they run. */
#ifndef SLUICE_PTXHOST_NCCL_RUN_H
#define SLUICE_PTXHOST_NCCL_RUN_H

#include "nccl_ranks.h"
#include "ptxhost.h"

struct operation { struct call call; uint64_t send, recv; int64_t peer; };
/* Of one call or group. Collectives come first. */
struct batch { struct ncclComm *comm; bool recorded; int64_t collectives, count; struct operation op[]; };

/* Bytes that an operation reads and writes on this rank. */
uint64_t run_reads(const struct ncclComm *c, const struct call *call);
uint64_t run_writes(const struct ncclComm *c, const struct call *call);
bool run_memory_check(struct ncclComm *c, const struct operation *o);  /* has to hold when the operation runs, too, which may be later */
enum ph_progress run_batch(const void *batch);

/* Messages of a batch (nccl_messages.c). */
void messages_begin(struct ncclComm *c);
enum ph_progress messages_step(struct ncclComm *c);
void messages_end(struct ncclComm *c);

#endif
