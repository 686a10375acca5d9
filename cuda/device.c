/* Opening a GPU. */
#include "device.h"
#include "gemm.h"
#include "parts.h"
#include "base/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* cuBLASLt's; the oldest architecture with bf16 and asynchronous copies, sm_80 */
enum { WORKSPACE = 32 << 20, OLDEST = 80 };

/* The architecture of the GPU for a rank, by its number on this machine, or -1 and why there is none. */
static int look(int local, int *number, struct err *e)
{
    int devices = 0, major = 0, minor = 0;
    cudaError_t status = cudaGetDeviceCount(&devices);
    if (status == cudaErrorNoDevice)
        return err_set(e, "this machine has no NVIDIA GPU; train.backend = \"cpu\" needs none");
    *number = devices ? local % devices : 0;
    if (status == cudaSuccess) status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, *number);
    if (status == cudaSuccess) status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, *number);
    if (status != cudaSuccess)
        return err_set(e,
                       "no GPU can be used: %s; 'sluice doctor' says what is here, train.backend = \"cpu\" needs none",
                       cudaGetErrorString(status));
    if (10 * major + minor >= OLDEST) return 10 * major + minor;
    return err_set(e, "the GPU is of architecture sm_%d; sm_%d (Ampere) is the oldest that can be used",
                   10 * major + minor, OLDEST);
}

static int known_arch;                                      /* once it was asked for, or a device is open */

/* ---- questions of a process that may still fork ---- */

/* arch -1: e says why there is no answer. */
struct facts { int arch; size_t room; struct err e; };

static void look_at_arch(struct facts *f)
{
    int number;
    f->arch = look(0, &number, &f->e);
}

static void look_at_room(struct facts *f)
{
    int number;
    size_t all;
    if ((f->arch = look(0, &number, &f->e)) < 0) return;
    cudaError_t status = cudaSetDevice(number);
    if (status == cudaSuccess) status = cudaMemGetInfo(&f->room, &all);
    if (status != cudaSuccess)
        f->arch = err_set(&f->e, "the GPU's memory cannot be asked for: %s", cudaGetErrorString(status));
}

/* A process that has touched a GPU cannot be forked any more: a child of its own looks, tells, and
   leaves nothing behind. */
static int ask(void (*question)(struct facts *f), struct facts *answer, struct err *e)
{
    int tell[2];
    if (pipe(tell)) return err_set(e, "no pipe can be made");
    pid_t child = process_fork(SIGKILL);
    if (child == 0) {
        question(answer);
        _exit(write(tell[1], answer, sizeof *answer) != (ssize_t)sizeof *answer);
    }
    close(tell[1]);
    ssize_t got = -1;
    while (child > 0 && (got = read(tell[0], answer, sizeof *answer)) < 0 && errno == EINTR) continue;
    close(tell[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    if (got != (ssize_t)sizeof *answer)
        return err_set(e, "the CUDA driver fails: the process that asked it for a GPU ended");
    return answer->arch < 0 ? err_set(e, "%s", answer->e.text) : 0;
}

int device_probe(char isa[16], struct err *e)
{
    struct facts f = { .arch = known_arch };
    if (!known_arch && ask(look_at_arch, &f, e)) return -1;
    known_arch = f.arch;
    snprintf(isa, 16, "sm_%d", known_arch);
    return 0;
}

int device_probe_room(size_t *bytes, struct err *e)
{
    struct facts f = { 0 };
    if (ask(look_at_room, &f, e)) return -1;
    *bytes = f.room;
    return 0;
}

bool device_describe(int line, char text[256])
{
    int runtime = 0, driver = 0, devices = 0;
    cudaError_t status = cudaGetDeviceCount(&devices);
    CUDA(cudaRuntimeGetVersion(&runtime));
    CUDA(cudaDriverGetVersion(&driver));
    size_t lt = cublasLtGetVersion();
    char of_driver[64] = "no driver is installed";
    if (driver) snprintf(of_driver, sizeof of_driver, "driver for CUDA %d.%d", driver / 1000, driver % 1000 / 10);
    if (line == 0) {
        char nccl[64];
        exchange_describe(nccl);
        snprintf(text, 256, "runtime %d.%d, cuBLASLt %zu.%zu, %s, %s%s%s", runtime / 1000, runtime % 1000 / 10,
                 lt / 10000, lt % 10000 / 100, nccl, of_driver, status == cudaSuccess ? "" : "; ",
                 status == cudaSuccess ? "" : cudaGetErrorString(status));
        return true;
    }
    struct cudaDeviceProp p;
    if (status != cudaSuccess || line > devices) return false;
    CUDA(cudaGetDeviceProperties(&p, line - 1));
    snprintf(text, 256, "%.100s, sm_%d%d, %d multiprocessors, %.1f GiB%s", p.name, p.major, p.minor,
             p.multiProcessorCount, (double)p.totalGlobalMem / (1 << 30),
             10 * p.major + p.minor < OLDEST ? ": too old, sm_80 is needed" : "");
    return true;
}

/* In a pipeline a message waits for its taker while kernels run beside it. Streams that share a connection to the GPU
   wait for each other, and loading a kernel may wait for all that runs: neither may be. Read when CUDA starts. */
static void let_messages_wait(void)
{
    if (place_group(&comm_here()->place, OVER_PIPELINE) == 1) return;
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    setenv("CUDA_MODULE_LOADING", "EAGER", 0);
}

/* Makes this rank's GPU the one that calls are for; gives its number. */
static int take(void)
{
    struct err e;
    let_messages_wait();
    int number = 0, arch = look(comm_here()->local, &number, &e);
    if (arch < 0) {
        fprintf(stderr, "cuda: %s\n", e.text);
        exit(7);
    }
    known_arch = arch;
    CUDA(cudaSetDevice(number));
    return number;
}

size_t device_room(void)
{
    size_t room, all;
    take();
    CUDA(cudaMemGetInfo(&room, &all));
    return room > WORKSPACE ? room - WORKSPACE : 0;
}

void *device_open(int threads)
{
    struct device *d = xcalloc(1, sizeof *d);
    (void)threads;
    grouped_open();
    d->number = take();
    CUDA(cudaDeviceGetAttribute(&d->multiprocessors, cudaDevAttrMultiProcessorCount, d->number));
    CUDA(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    d->workspace_bytes = WORKSPACE;
    CUDA(cudaMalloc(&d->workspace, d->workspace_bytes));
    gemm_open(d);
    ring_open(d);
    clock_open(d);
    exchange_open(d);
    return d;
}

void device_close(void *device)
{
    struct device *d = device;
    device_wait(d, NULL);
    channel_close(d);
    exchange_close(d);
    clock_close(d);
    ring_close(d);
    gemm_close(d);
    CUDA(cudaFree(d->workspace));
    CUDA(cudaStreamDestroy(d->stream));
    free(d);
}
