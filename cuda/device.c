/* Opening a GPU. */
#include "device.h"
#include "gemm.h"
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKSPACE = 32 << 20, OLDEST = 80 };                 /* cuBLASLt's; the oldest architecture with bf16 and asynchronous copies, sm_80 */

void cuda_fail(const char *file, int line, const char *call, const char *says)
{
    fprintf(stderr, "cuda: %s:%d: %s: %s\n", file, line, call, says);
    exit(7);
}

/* The architecture of the GPU, or -1 and why there is none. */
static int look(int number, struct err *e)
{
    int devices = 0, major = 0, minor = 0;
    cudaError_t status = cudaGetDeviceCount(&devices);
    if (status != cudaSuccess) return err_set(e, "no GPU can be used: %s; 'sluice doctor' says what is here, train.backend = \"cpu\" needs none", cudaGetErrorString(status));
    if (devices == 0) return err_set(e, "this machine has no NVIDIA GPU; train.backend = \"cpu\" needs none");
    CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, number));
    CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, number));
    if (10 * major + minor >= OLDEST) return 10 * major + minor;
    return err_set(e, "the GPU is of architecture sm_%d; sm_%d (Ampere) is the oldest that can be used", 10 * major + minor, OLDEST);
}

/* A process that has touched a GPU cannot be forked any more: a child of its own looks and tells. */
int device_probe(char isa[16], struct err *e)
{
    static int known;
    struct { int arch; struct err e; } answer = { .arch = known };
    if (!known) {
        int tell[2];
        if (pipe(tell)) return err_set(e, "no pipe can be made");
        pid_t child = fork();
        if (child == 0) {
            answer.arch = look(0, &answer.e);
            _exit(write(tell[1], &answer, sizeof answer) != (ssize_t)sizeof answer);
        }
        close(tell[1]);
        ssize_t got = child < 0 ? -1 : read(tell[0], &answer, sizeof answer);
        close(tell[0]);
        if (child > 0) waitpid(child, NULL, 0);
        if (got != (ssize_t)sizeof answer) return err_set(e, "the CUDA driver fails: the process that asked it for a GPU ended");
        if (answer.arch < 0) return err_set(e, "%s", answer.e.text);
        known = answer.arch;
    }
    snprintf(isa, 16, "sm_%d", known);
    return 0;
}

void *device_open(int threads)
{
    struct device *d = xcalloc(1, sizeof *d);
    struct err e;
    (void)threads;
    if (look(0, &e) < 0) {
        fprintf(stderr, "cuda: %s\n", e.text);
        exit(7);
    }
    CUDA(cudaSetDevice(d->number));
    CUDA(cudaDeviceGetAttribute(&d->multiprocessors, cudaDevAttrMultiProcessorCount, d->number));
    CUDA(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    d->workspace_bytes = WORKSPACE;
    CUDA(cudaMalloc(&d->workspace, d->workspace_bytes));
    gemm_open(d);
    ring_open(d);
    return d;
}

void device_close(void *device)
{
    struct device *d = device;
    CUDA(cudaStreamSynchronize(d->stream));
    ring_close(d);
    gemm_close(d);
    CUDA(cudaFree(d->workspace));
    CUDA(cudaStreamDestroy(d->stream));
    free(d);
}
