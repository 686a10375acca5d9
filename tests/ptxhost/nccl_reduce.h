/* Sums and their like, in each type of NCCL's. */
#ifndef SLUICE_PTXHOST_NCCL_REDUCE_H
#define SLUICE_PTXHOST_NCCL_REDUCE_H

#include <nccl.h>
#include <stddef.h>

size_t reduce_size(ncclDataType_t type);                    /* bytes of a value; 0: a type that is not supported */
void reduce_combine(void *to, const void *from, size_t n, ncclDataType_t type, ncclRedOp_t op);     /* to = to op from */
/* An average is a sum of numbers that were scaled before, or of integers divided after. */
void reduce_scale_before(void *data, size_t n, ncclDataType_t type, int ranks);
void reduce_divide_after(void *data, size_t n, ncclDataType_t type, int ranks);

#endif
