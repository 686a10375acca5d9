/* Products of bf16 matrices by the tiles of AMX. */
#ifndef SLUICE_AMX_H
#define SLUICE_AMX_H

#include "cpu/isa.h"

bool amx_available(void);    /* the processor has it, and the kernel lets this process use it */
dot_product dot_amx;    /* k up to 512 keeps 32 rows of A in the first-level cache */

#endif
