/* GPUs by their data sheets, and what plans for one have otherwise, whether or not the CUDA backend is at hand. */
#ifndef SLUICE_CLI_GPU_H
#define SLUICE_CLI_GPU_H

#include "backend/backend.h"

/* Dense peaks in FLOP/s: of bf16 and fp8 (0: it has none) on tensor cores, of fp32 without them; bytes a second. */
struct gpu { const char *word, *name; double bf16, fp8, fp32, bandwidth; };
#define GPU_WORDS "a100 h100 h200 h800"
const struct gpu *gpu_find(const char *word);               /* NULL: no data sheet of it is known */
struct backend gpu_backend(void);                           /* plans as for a GPU; nothing runs on it */

#endif
