/* Data sheets. H800: an H100 whose links to other GPUs of its machine are slower. */
#include "gpu.h"

#include <string.h>

static const struct gpu gpus[] = {
    { "a100", "NVIDIA A100 SXM 80 GB", 312e12, 0, 19.5e12, 2.039e12 },
    { "h100", "NVIDIA H100 SXM", 989e12, 1979e12, 67e12, 3.35e12 },
    { "h200", "NVIDIA H200 SXM", 989e12, 1979e12, 67e12, 4.8e12 },
    { "h800", "NVIDIA H800 SXM", 989e12, 1979e12, 67e12, 3.35e12 },
};

const struct gpu *gpu_find(const char *word)
{
    for (int i = 0; i < COUNT(gpus); i++) if (!strcmp(gpus[i].word, word)) return &gpus[i];
    return NULL;
}

/* Products in bf16 read weights in bf16. */
static size_t packed_bytes(struct shape weight, enum format act)
{
    return act == FORMAT_BF16 ? 2 * (size_t)shape_count(weight) : 0;
}

/* A call has all rows at once. */
struct backend gpu_backend(void)
{
    struct backend b = backend_cpu;
    b.cuts_rows = false;
    b.packed_bytes = packed_bytes;
    return b;
}
