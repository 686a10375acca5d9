/* One GPU as the CUDA backend holds it: a stream on which all calls of a plan run in order, and what the libraries
   need. A kernel gets it as args->device. */
#ifndef SLUICE_CUDA_DEVICE_H
#define SLUICE_CUDA_DEVICE_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A number that no kernel can compute with: what it counts, and below what it should be. */
enum fault_kind {
    FAULT_NONE, FAULT_ID, FAULT_TARGET, FAULT_DOCUMENT, FAULT_POSITION, FAULT_BUCKET, FAULT_ROWS, FAULT_EXPERT,
    FAULT_ROOM, FAULTS
};
struct fault { int32_t kind; int64_t value, limit; };

struct device {
    int number, multiprocessors;
    struct fault *fault;    /* in the device's memory: the first that a kernel met; see memory.c */
    cudaStream_t stream;
    cublasLtHandle_t lt; void *workspace; size_t workspace_bytes;
    struct gemm_cache *gemm_cache;                          /* of gemm.c */
    struct clock *clock;                                    /* of clock.c */
    struct ring *ring;    /* of memory.c: pinned memory through which puts and gets go */
    struct exchange *exchange;                              /* of comm.c; NULL: there is one rank */
};

/* A failure of the machine: prints the call, its place, what the library says of it and, of CUDA, what can be done, and
   leaves with exit code 7. */
void library_fail(const char *file, int line, const char *call, const char *says) __attribute__((noreturn));
void cuda_fail(const char *file, int line, const char *call, cudaError_t status) __attribute__((noreturn));
#define CUDA(call) do { \
    cudaError_t status_ = (call); \
    if (status_ != cudaSuccess) cuda_fail(__FILE__, __LINE__, #call, status_); \
} while (0)

#ifdef __cplusplus
}
#endif
#endif
