/* An op's row in the table of the CUDA backend. */
#ifndef SLUICE_CUDA_TWIN_H
#define SLUICE_CUDA_TWIN_H

#include "backend/kernel.h"

/* scratch: bytes that a call needs in args->scratch, from its shapes and attributes; NULL: none. */
struct twin { struct kernels kernels; size_t (*scratch)(const struct args *a); };

#endif
