/* What ends the process: a call that failed, a setting that means nothing. */
#include "device.h"
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { cudaError_t status; const char *advice;
} advised[] = {
#define LOST "the GPU is lost to this process; nvidia-smi and the kernel's log (Xid) say why. " \
    "What was committed is kept: sluice resume goes on when it is back"
#define ASTRAY "a kernel went astray; CUDA_LAUNCH_BLOCKING=1 SLUICE_CUDA_GRAPH=off names the call. " \
    "What was committed is kept: sluice resume goes on"
    { cudaErrorUnknown, LOST },
    { cudaErrorECCUncorrectable, LOST },
    { cudaErrorNvlinkUncorrectable, LOST },
    { cudaErrorHardwareStackError, LOST },
    { cudaErrorNoDevice, LOST },
    { cudaErrorIllegalAddress, ASTRAY },
    { cudaErrorMisalignedAddress, ASTRAY },
    { cudaErrorIllegalInstruction, ASTRAY },
    { cudaErrorLaunchFailure, ASTRAY },
    { cudaErrorDevicesUnavailable,
      "another process has the GPU for itself; nvidia-smi names it and shows the compute mode" },
    { cudaErrorMemoryAllocation, "other processes may hold the GPU's memory; nvidia-smi names them" },
    { cudaErrorNoKernelImageForDevice,
      "this build has no code for the GPU; SLUICE_CUDA_TARGETS of CMake names its architectures" },
    { cudaErrorInsufficientDriver, "the driver is older than the CUDA libraries; sluice doctor shows both" },
};

static void print(const char *file, int line, const char *call, const char *says)
{
    fprintf(stderr, "cuda: %s:%d: %s: %s\n", file, line, call, says);
}

void library_fail(const char *file, int line, const char *call, const char *says)
{
    print(file, line, call, says);
    exit(7);
}

void cuda_fail(const char *file, int line, const char *call, cudaError_t status)
{
    print(file, line, call, cudaGetErrorString(status));
    for (int i = 0; i < COUNT(advised); i++)
        if (advised[i].status == status) fprintf(stderr, "  %s\n", advised[i].advice);
    exit(7);
}

bool device_switch(const char *variable, const char *on, const char *off)
{
    const char *word = getenv(variable);
    if (!word || strcmp(word, off) == 0) return false;
    if (strcmp(word, on) == 0) return true;
    fprintf(stderr, "%s=%s: must be %s or %s\n", variable, word, on, off);
    exit(2);
}
