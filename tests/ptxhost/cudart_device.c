/* The emulated libcudart's devices: few and oddly many multiprocessors, the limits of the real ones. */
#include "cudart.h"
#include <cuda_profiler_api.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, REGISTERS = 65536, L2_BYTES = 32 << 20 };

static const struct profile { struct ph_profile shown; int threads_per_multiprocessor, blocks_per_multiprocessor; } profiles[] = {
    { { 80, 3, 163 * KIB, 164 * KIB, REGISTERS }, 2048, 32 },
    { { 90, 3, 227 * KIB, 228 * KIB, REGISTERS }, 2048, 32 },
    { { 100, 3, 227 * KIB, 228 * KIB, REGISTERS }, 2048, 32 },
    { { 120, 3, 99 * KIB, 100 * KIB, REGISTERS }, 1536, 24 },
};
static _Thread_local int current;

static const struct profile *profile(void)
{
    static const struct profile *chosen;
    if (chosen) return chosen;
    const char *text = getenv("PTXHOST_ARCH");
    if (!text || !*text) return chosen = &profiles[0];
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++)
        if (atoi(strncmp(text, "sm_", 3) == 0 ? text + 3 : text) == profiles[i].shown.arch) return chosen = &profiles[i];
    ph_report("PTXHOST_ARCH=%s: known are sm_80, sm_90, sm_100, sm_120", text);
    return chosen = &profiles[0];
}

const struct ph_profile *ph_profile(void)
{
    return &profile()->shown;
}

static int device_count(void)
{
    static int64_t count = -1;
    if (count < 0) count = cudart_setting("PTXHOST_DEVICES", 1);
    return (int)count;
}

int device_current(void)
{
    return current;
}

uint64_t device_memory_bytes(void)
{
    static int64_t mebibytes = -1;
    if (mebibytes < 0) mebibytes = cudart_setting("PTXHOST_MEMORY", 4096);
    return (uint64_t)mebibytes << 20;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    API;
    *count = device_count();
    return *count > 0 ? cudaSuccess : cudart_refuse(cudaErrorNoDevice);
}

cudaError_t device_check(int device)
{
    if (device_count() == 0) return cudart_refuse(cudaErrorNoDevice);
    return device >= 0 && device < device_count() ? cudaSuccess : cudart_refuse(cudaErrorInvalidDevice);
}

cudaError_t cudaSetDevice(int device)
{
    API;
    cudaError_t error = device_check(device);
    if (!error) current = device;
    return error;
}

cudaError_t cudaGetDevice(int *device)
{
    API;
    *device = current;
    return device_check(current);
}

cudaError_t cudaSetDeviceFlags(unsigned int flags)
{
    API;
    (void)flags;                                            /* how a host thread waits */
    return device_check(current);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    API;
    cudaError_t error = device_check(device);
    if (error) return error;
    const struct profile *of = profile();
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "ptxhost sm_%d", of->shown.arch);
    p->uuid.bytes[0] = (char)device;
    p->major = of->shown.arch / 10;
    p->minor = of->shown.arch % 10;
    p->multiProcessorCount = of->shown.multiprocessors;
    p->totalGlobalMem = device_memory_bytes();
    p->totalConstMem = 64 * KIB;
    p->sharedMemPerBlock = 48 * KIB;
    p->sharedMemPerBlockOptin = of->shown.shared_per_block;
    p->sharedMemPerMultiprocessor = of->shown.shared_per_multiprocessor;
    p->reservedSharedMemPerBlock = KIB;
    p->regsPerBlock = p->regsPerMultiprocessor = (int)of->shown.registers;
    p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->maxThreadsPerMultiProcessor = of->threads_per_multiprocessor;
    p->maxBlocksPerMultiProcessor = of->blocks_per_multiprocessor;
    p->l2CacheSize = L2_BYTES;
    p->concurrentKernels = p->unifiedAddressing = p->asyncEngineCount = p->streamPrioritiesSupported = 1;
    p->textureAlignment = 512;
    p->memPitch = 0x7fffffff;
    p->pciBusID = device + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    API;
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error) return error;
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxBlockDimX: *value = p.maxThreadsDim[0]; break;
    case cudaDevAttrMaxBlockDimY: *value = p.maxThreadsDim[1]; break;
    case cudaDevAttrMaxBlockDimZ: *value = p.maxThreadsDim[2]; break;
    case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
    case cudaDevAttrMaxGridDimY: *value = p.maxGridSize[1]; break;
    case cudaDevAttrMaxGridDimZ: *value = p.maxGridSize[2]; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrReservedSharedMemoryPerBlock: *value = (int)p.reservedSharedMemPerBlock; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrMaxRegistersPerMultiprocessor: *value = p.regsPerMultiprocessor; break;
    case cudaDevAttrTotalConstantMemory: *value = (int)p.totalConstMem; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrConcurrentKernels: *value = p.concurrentKernels; break;
    case cudaDevAttrAsyncEngineCount: *value = p.asyncEngineCount; break;
    case cudaDevAttrUnifiedAddressing: *value = p.unifiedAddressing; break;
    case cudaDevAttrCanMapHostMemory: *value = p.canMapHostMemory; break;
    case cudaDevAttrStreamPrioritiesSupported: *value = p.streamPrioritiesSupported; break;
    case cudaDevAttrMemoryPoolsSupported: *value = p.memoryPoolsSupported; break;
    case cudaDevAttrManagedMemory: *value = p.managedMemory; break;
    case cudaDevAttrCooperativeLaunch: *value = p.cooperativeLaunch; break;
    case cudaDevAttrIntegrated: *value = p.integrated; break;
    case cudaDevAttrPciBusId: *value = p.pciBusID; break;
    case cudaDevAttrPciDeviceId: *value = p.pciDeviceID; break;
    case cudaDevAttrPciDomainId: *value = p.pciDomainID; break;
    default: return cudart_fail(cudaErrorNotSupported, "attribute %d is not emulated", (int)attribute);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    API;
    *least = 0;
    *greatest = -5;
    return device_check(current);
}

cudaError_t cudaDeviceSynchronize(void)
{
    API;
    cudaError_t error = capture_forbid(NULL);
    if (!error) stream_drain_all();
    return error;
}

cudaError_t cudaDeviceReset(void)
{
    API;
    cudaError_t error = capture_forbid(NULL);
    if (error) return error;
    stream_drain_all();
    memory_release_all();
    module_load_variables();                                /* a module's own memory begins anew */
    return cudaSuccess;
}

/* The driver is as new as the headers. */
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaProfilerStart(void)
{
    return cudaSuccess;
}

cudaError_t cudaProfilerStop(void)
{
    return cudaSuccess;
}
