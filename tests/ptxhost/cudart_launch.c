/* The emulated libcudart's launches, and what it checks of them. */
#define _GNU_SOURCE
#include "cudart.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARED_UNASKED = 48 << 10,                              /* what a block may have without cudaFuncSetAttribute */
    SHARED_RESERVED = 1 << 10                               /* of each block, by the device itself */
};

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, struct CUstream_st *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream);

/* ---- functions ---- */

/* Without the zones that only the emulator keeps between the arrays. */
static uint32_t static_shared(const struct ph_kernel *k)
{
    uint32_t bytes = 0;
    for (int i = 0; i < k->arrays; i++) bytes += k->array[i].to - k->array[i].from;
    return bytes;
}

static uint32_t dynamic_limit(const struct function *f)
{
    return f->dynamic_limit < 0 ? SHARED_UNASKED - static_shared(f->kernel) : (uint32_t)f->dynamic_limit;
}

static int max_threads(const struct ph_kernel *k)
{
    return k->max_threads ? k->max_threads : 1024;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    API;
    struct function *f;
    cudaError_t error = module_function(function, &f);
    if (error) return error;
    int most = (int)(ph_profile()->shared_per_block - static_shared(f->kernel));
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudart_fail(cudaErrorNotSupported, "attribute %d is not emulated", (int)attribute);
    if (value < 0 || value > most)
        return cudart_fail(cudaErrorInvalidValue, "kernel %s: %d bytes of dynamic shared memory, an sm_%d block has room for %d", f->name, value,
                           ph_profile()->arch, most);
    f->dynamic_limit = value;
    return cudaSuccess;
}

/* Registers are ptxas' to count: 0 here. */
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *function)
{
    API;
    struct function *f;
    cudaError_t error = module_function(function, &f);
    if (error) return error;
    memset(a, 0, sizeof *a);
    a->sharedSizeBytes = static_shared(f->kernel);
    a->maxThreadsPerBlock = max_threads(f->kernel);
    a->maxDynamicSharedSizeBytes = (int)dynamic_limit(f);
    a->ptxVersion = f->arch;
    a->binaryVersion = ph_profile()->arch;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int threads, size_t dynamic, unsigned int flags)
{
    API;
    struct function *f;
    struct cudaDeviceProp p;
    cudaError_t error = module_function(function, &f);
    if (!error) error = cudaGetDeviceProperties(&p, device_current());
    if (error) return error;
    if (flags || threads < 1) return cudart_fail(cudaErrorInvalidValue, "%d threads, flags %#x", threads, flags);
    size_t shared = static_shared(f->kernel) + dynamic + SHARED_RESERVED;
    int by_shared = (int)(p.sharedMemPerMultiprocessor / shared), by_threads = p.maxThreadsPerMultiProcessor / ((threads + 31) / 32 * 32);
    *blocks = threads > max_threads(f->kernel) ? 0 : by_threads < p.maxBlocksPerMultiProcessor ? by_threads : p.maxBlocksPerMultiProcessor;
    if (by_shared < *blocks) *blocks = by_shared;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int threads, size_t dynamic)
{
    API;
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic, 0);
}

/* ---- launches ---- */

/* The <<<>>> of a launch, until its stub takes it; a launch's arguments may launch in turn. */
static _Thread_local struct { dim3 grid, block; size_t shared; cudaStream_t stream; } configured[16];
static _Thread_local unsigned configurations;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, struct CUstream_st *stream)
{
    if (configurations == sizeof configured / sizeof *configured) return 1;
    configured[configurations].grid = grid;
    configured[configurations].block = block;
    configured[configurations].shared = shared;
    configured[configurations++].stream = stream;
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream)
{
    if (configurations == 0) return cudart_fail(cudaErrorInvalidConfiguration, "a kernel's stub was called without <<<>>>");
    *grid = configured[--configurations].grid;
    *block = configured[configurations].block;
    *shared = configured[configurations].shared;
    *(cudaStream_t *)stream = configured[configurations].stream;
    return cudaSuccess;
}

struct launch { const struct ph_kernel *kernel; struct ph_dim grid, block; uint32_t dynamic; alignas(16) unsigned char parameters[]; };

static void run_launch(const void *data)
{
    const struct launch *l = data;
    ph_grid(l->kernel, l->grid, l->block, l->dynamic, l->parameters);
}

static cudaError_t check_shape(const struct function *f, dim3 grid, dim3 block)
{
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0)
        return cudart_fail(cudaErrorInvalidConfiguration, "kernel %s: grid %ux%ux%u of blocks %ux%ux%u: nothing to run", f->name, grid.x, grid.y, grid.z,
                           block.x, block.y, block.z);
    if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return cudart_fail(cudaErrorInvalidConfiguration, "kernel %s: grid %ux%ux%u: at most 2147483647x65535x65535", f->name, grid.x, grid.y, grid.z);
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024)
        return cudart_fail(cudaErrorInvalidConfiguration, "kernel %s: block %ux%ux%u: at most 1024x1024x64 and 1024 threads", f->name, block.x, block.y, block.z);
    if (threads > (uint64_t)max_threads(f->kernel))
        return cudart_fail(cudaErrorInvalidValue, "kernel %s: %llu threads in a block, its __launch_bounds__ are %d", f->name, (unsigned long long)threads,
                           max_threads(f->kernel));
    return cudaSuccess;
}

static cudaError_t check_shared(const struct function *f, size_t dynamic)
{
    size_t room = ph_profile()->shared_per_block - static_shared(f->kernel);
    if (dynamic > room)
        return cudart_fail(cudaErrorInvalidValue, "kernel %s: %zu bytes of dynamic shared memory, an sm_%d block has room for %zu", f->name, dynamic,
                           ph_profile()->arch, room);
    if (dynamic > dynamic_limit(f))
        return cudart_fail(cudaErrorInvalidValue, "kernel %s: %zu bytes of dynamic shared memory; cudaFuncSetAttribute must ask for more than %u", f->name, dynamic,
                           dynamic_limit(f));
    return cudaSuccess;
}

static cudaError_t check_stream(const struct function *f, cudaStream_t stream)
{
    const struct CUstream_st *s = stream_find(stream);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (s->device == device_current()) return cudaSuccess;
    return cudart_fail(cudaErrorInvalidResourceHandle, "kernel %s: its stream is of device %d, the current device is %d", f->name, s->device, device_current());
}

static cudaError_t launch(const void *function, dim3 grid, dim3 block, void **arguments, size_t dynamic, cudaStream_t stream)
{
    struct function *f;
    cudaError_t error = module_function(function, &f);
    if (!error) error = check_shape(f, grid, block);
    if (!error) error = check_shared(f, dynamic);
    if (!error) error = check_stream(f, stream);
    if (error) return error;
    const struct ph_kernel *k = f->kernel;
    size_t bytes = sizeof(struct launch) + k->param_bytes;
    struct launch *l = cudart_allocate(bytes);
    *l = (struct launch){ k, { grid.x, grid.y, grid.z }, { block.x, block.y, block.z }, (uint32_t)dynamic };
    for (int i = 0; i < k->params; i++) memcpy(l->parameters + k->param[i].offset, arguments[i], k->param[i].bytes);
    cudart_trace("%s<<<%ux%ux%u, %ux%ux%u, %zu>>>", k->name, grid.x, grid.y, grid.z, block.x, block.y, block.z, dynamic);
    error = stream_submit(stream, &(struct work){ WORK_KERNEL, k->name, run_launch, l, bytes, NULL });
    free(l);
    return error;
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream)
{
    API;
    return launch(function, grid, block, arguments, shared, stream);
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t stream)
{
    API;
    return launch(kernel, grid, block, arguments, shared, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *function, void **arguments)
{
    API;
    for (unsigned i = 0; i < c->numAttrs; i++)
        if (c->attrs[i].id != cudaLaunchAttributeIgnore && c->attrs[i].id != cudaLaunchAttributePriority)
            return cudart_fail(cudaErrorNotSupported, "launch attribute %d is not emulated", (int)c->attrs[i].id);
    return launch(function, c->gridDim, c->blockDim, arguments, c->dynamicSmemBytes, c->stream);
}
