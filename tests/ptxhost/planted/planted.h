/* Planted bugs: each is a small program that is right or has one mistake. The emulated GPU must name the mistake, and say nothing of its clean twin. */
#ifndef SLUICE_PTXHOST_PLANTED_H
#define SLUICE_PTXHOST_PLANTED_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct planted {
    const char *name; void (*run)(bool bug); const char *words;
    int seeds;                                              /* 0: found with every seed; else with one of so many at least */
};

#ifdef __cplusplus
extern "C" {
#endif
extern const struct planted planted_kernels[], planted_host[], planted_libraries[];     /* each ends with { NULL } */
#ifdef __cplusplus
}
#endif

enum { PLANTED_WRONG = 3 };                                 /* exit code: a value is not what it should be */

/* What only a wrong value shows. */
static inline void planted_expect(float got, float want)
{
    if (got == want) return;
    printf("wrong value: %g, should be %g\n", (double)got, (double)want);
    exit(PLANTED_WRONG);
}

/* Device memory of n floats: 0, 1, 2, ..., or never written. */
static inline float *planted_floats(int n, bool written)
{
    float *host = (float *)malloc((size_t)n * sizeof *host), *device = NULL;
    for (int i = 0; i < n; i++) host[i] = (float)i;
    cudaMalloc((void **)&device, (size_t)n * sizeof *device);
    if (written) cudaMemcpy(device, host, (size_t)n * sizeof *device, cudaMemcpyHostToDevice);
    free(host);
    return device;
}

static inline void planted_fetch(float *host, const float *device, int n) { cudaMemcpy(host, device, (size_t)n * sizeof *host, cudaMemcpyDeviceToHost); }
#endif
