/* The CUDA backend: one row for each op, an NVIDIA GPU. A shared object by itself; see runtime/backend/backend.c. */
#include "parts.h"
#include "twin.h"
#include "graph/ops.h"

#define DECLARE(name, signature) extern const struct twin cuda_##name;
#define ROW(name, signature) &cuda_##name,
OPS(DECLARE)
static const struct twin *const twin[] = { OPS(ROW) };

static const struct kernels *kernels(int op) { return &twin[op]->kernels; }
static size_t scratch(int op, const struct args *a) { return twin[op]->scratch ? twin[op]->scratch(a) : 0; }

static kernel *fuse(int first, const struct args *a, int second, const struct args *b)
{
    if (first == OP_add && second == OP_rmsnorm) return fuse_add_rmsnorm(b);
    if (first == OP_rmsnorm && second == OP_rope) return fuse_rmsnorm_rope(a, b);
    if (second == OP_mul_heads) return fuse_weighed(twin[first]->kernels.forward, b);
    if (first != second) return NULL;
    if (first == OP_average) return fuse_average(a, b);
    if (first == OP_lion) return fuse_lion(a, b);
    if (first == OP_schedule_free) return fuse_schedule_free(a, b);
    if (first == OP_sgd) return fuse_sgd(a, b);
    return first == OP_adamw ? fuse_adamw(a, b) : NULL;
}

/* Products of bf16 activations read weights that were rounded once a step. */
static size_t packed_bytes(struct shape weight, enum format act)
{
    return act == FORMAT_BF16 ? (size_t)shape_count(weight) * element_bytes(FORMAT_BF16) : 0;
}

enum { PROCESS = 544 << 20 };    /* bytes of a context, which is assumed to take 512 MiB, and of cuBLASLt's workspace */

static const struct backend cuda = {
    .name = "cuda",
    .updates_pack = true,
    .kernels = kernels,
    .scratch = scratch,
    .fuse = fuse,
    .probe = device_probe,
    .probe_room = device_probe_room,
    .describe = device_describe,
    .room = device_room,
    .process_bytes = PROCESS,
    .open = device_open,
    .close = device_close,
    .separate = device_separate,
    .alloc = device_alloc,
    .release = device_release,
    .alloc_host = device_alloc_host,
    .release_host = device_release_host,
    .clear = device_clear,
    .put = device_put,
    .copy = device_copy,
    .get = device_get,
    .fetch = device_fetch,
    .fetched = device_fetched,
    .fill = cuda_fill,
    .packed_bytes = packed_bytes,
    .pack = cuda_pack,
    .reduce = device_reduce,
    .broadcast = device_broadcast,
    .meet = device_meet,
    .beside = device_beside,
    .settle = device_settle,
    .open_channel = device_open_channel,
    .give = device_give,
    .take = device_take,
    .stamp = device_stamp,
    .between = device_between,
    .record = device_record,
    .recorded = device_recorded,
    .replay = device_replay,
    .forget = device_forget,
};

__attribute__((visibility("default"))) extern const struct backend_entry backend_entry;
const struct backend_entry backend_entry = { SLUICE_INTERFACE, &cuda, &comm_of_program };
