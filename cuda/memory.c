/* Device memory, and the pinned memory through which values come and go. A put copies into a piece of a ring, which
   small ones share, and returns: the device fetches it when the stream gets there. A piece is used again only after the
   copies that read it are done. With whatever comes back comes the word for a fault that a kernel may have met. */
#include "device.h"
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES = 64, PIECE = 1 << 20 };

/* What fetch asked for. */
struct answer { char *pinned; size_t room, bytes; cudaEvent_t here; };
/* used: bytes of piece `piece`. read: recorded behind the last copy of each. */
struct ring {
    char *pinned; cudaEvent_t read[PIECES];
    int piece; size_t used;
    struct fault *fault; struct answer answer;
};

void ring_open(struct device *d)
{
    struct ring *r = d->ring = xcalloc(1, sizeof *r);
    CUDA(cudaHostAlloc((void **)&r->pinned, (size_t)PIECES * PIECE, cudaHostAllocDefault));
    for (int i = 0; i < PIECES; i++) CUDA(cudaEventCreateWithFlags(&r->read[i], cudaEventDisableTiming));
    CUDA(cudaHostAlloc((void **)&r->fault, sizeof *r->fault, cudaHostAllocDefault));
    CUDA(cudaEventCreateWithFlags(&r->answer.here, cudaEventDisableTiming));
    d->fault = device_alloc(d, sizeof *d->fault);
}

void ring_close(struct device *d)
{
    struct ring *r = d->ring;
    for (int i = 0; i < PIECES; i++) CUDA(cudaEventDestroy(r->read[i]));
    CUDA(cudaEventDestroy(r->answer.here));
    CUDA(cudaFreeHost(r->answer.pinned));
    CUDA(cudaFreeHost(r->fault));
    CUDA(cudaFreeHost(r->pinned));
    CUDA(cudaFree(d->fault));
    free(r);
}

/* ---- faults ---- */

/* Nobody could know of it before: a setting is too small for what a router chose. */
static _Noreturn void out_of_room(const struct fault *f)
{
    fprintf(stderr,
            "cuda: rank %d of %d: %lld rows go from here to the experts of one rank, and train.ranks.room leaves room "
            "for %lld from each: give it more, or 0, with which no choice of experts is too much\n",
            comm_here()->rank, comm_here()->ranks, (long long)f->value, (long long)f->limit);
    exit(7);
}

/* As on the CPU, a broken invariant: whoever made these numbers should have refused them. */
static void look(const struct fault *f)
{
    static const char *const words[FAULTS] = { [FAULT_ID] = "embed: id %lld, the table has %lld rows",
                                               [FAULT_TARGET] = "target %lld, the vocabulary has %lld",
                                               [FAULT_DOCUMENT] = "ngram: document start %lld of %lld positions",
                                               [FAULT_POSITION] = "position %lld of %lld",
                                               [FAULT_BUCKET] = "dispatch: expert %lld of %lld",
                                               [FAULT_ROWS] = "dispatch: %lld pairs, there is room for %lld rows",
                                               [FAULT_EXPERT] = "threshold: expert %lld of %lld" };
    char text[128];
    if (f->kind == FAULT_NONE) return;
    if (f->kind == FAULT_ROOM) out_of_room(f);
    snprintf(text, sizeof text, words[f->kind], (long long)f->value, (long long)f->limit);
    invariant_broken(__FILE__, __LINE__, "a kernel on the GPU met %s", text);
}

/* ---- to and from the device ---- */

/* Room for n bytes of at most a piece, of the next one where this has none left, when it is read. */
static char *pinned_room(struct device *d, size_t n)
{
    struct ring *r = d->ring;
    if (r->used + n > PIECE) {
        r->piece = (r->piece + 1) % PIECES;
        r->used = 0;
        device_wait(d, r->read[r->piece]);                  /* of an event never recorded: nothing */
    }
    char *room = r->pinned + (size_t)r->piece * PIECE + r->used;
    r->used += (n + 63) / 64 * 64;
    return room;
}

void device_put(void *device, void *to, const void *host, size_t bytes)
{
    struct device *d = device;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < PIECE ? bytes - at : PIECE;
        char *pinned = pinned_room(d, n);
        memcpy(pinned, (const char *)host + at, n);
        CUDA(cudaMemcpyAsync((char *)to + at, pinned, n, cudaMemcpyDefault, d->stream));
        CUDA(cudaEventRecord(d->ring->read[d->ring->piece], d->stream));
    }
}

void device_get(void *device, void *host, const void *from, size_t bytes)
{
    struct device *d = device;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < PIECE ? bytes - at : PIECE;
        char *pinned = pinned_room(d, n);
        CUDA(cudaMemcpyAsync(pinned, (const char *)from + at, n, cudaMemcpyDefault, d->stream));
        CUDA(cudaMemcpyAsync(d->ring->fault, d->fault, sizeof *d->fault, cudaMemcpyDeviceToHost, d->stream));
        device_wait(d, NULL);
        look(d->ring->fault);
        memcpy((char *)host + at, pinned, n);
    }
}

void device_fetch(void *device, const void *from, size_t bytes)
{
    struct device *d = device;
    struct answer *a = &d->ring->answer;
    if (a->room < bytes) {
        CUDA(cudaFreeHost(a->pinned));
        CUDA(cudaHostAlloc((void **)&a->pinned, bytes, cudaHostAllocDefault));
        a->room = bytes;
    }
    a->bytes = bytes;
    if (bytes) CUDA(cudaMemcpyAsync(a->pinned, from, bytes, cudaMemcpyDefault, d->stream));
    CUDA(cudaMemcpyAsync(d->ring->fault, d->fault, sizeof *d->fault, cudaMemcpyDeviceToHost, d->stream));
    CUDA(cudaEventRecord(a->here, d->stream));
}

void device_fetched(void *device, void *host)
{
    struct device *d = device;
    struct answer *a = &d->ring->answer;
    device_wait(d, a->here);
    look(d->ring->fault);
    if (a->bytes) memcpy(host, a->pinned, a->bytes);
}

void device_copy(void *device, void *to, const void *from, size_t bytes)
{
    struct device *d = device;
    if (bytes) CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, d->stream));
}

void device_clear(void *device, void *memory, size_t bytes)
{
    struct device *d = device;
    if (bytes) CUDA(cudaMemsetAsync(memory, 0, bytes, d->stream));
}

/* SLUICE_CUDA_MEMORY=apart: what runs past a tensor does not fall into its neighbour. */
bool device_separate(void) { return device_switch("SLUICE_CUDA_MEMORY", "apart", "arena"); }

static _Noreturn void out_of_memory(size_t bytes)
{
    const double mib = 1 << 20;
    size_t room = 0, all = 0;
    CUDA(cudaMemGetInfo(&room, &all));
    fprintf(stderr,
            "cuda: %.1f MiB of the GPU's memory were wanted at once, %.1f of %.1f are free: other processes hold some "
            "of it (nvidia-smi names them), or it is in pieces\n"
            "  a larger train.micro needs less; --jobs 1 leaves the GPU to one run of this study\n",
            (double)bytes / mib, (double)room / mib, (double)all / mib);
    exit(7);
}

void *device_alloc(void *device, size_t bytes)
{
    void *memory = NULL;
    if (bytes == 0) return NULL;
    cudaError_t status = cudaMalloc(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) out_of_memory(bytes);
    CUDA(status);
    device_clear(device, memory, bytes);
    return memory;
}

void device_release(void *device, void *memory, size_t bytes)
{
    struct device *d = device;
    (void)bytes;
    if (!memory) return;
    device_wait(d, NULL);
    CUDA(cudaFree(memory));
}

/* Pinned, and mapped: a kernel reads and writes it over the bus, whole lines at a time, at the place that the host
   knows it by. */
void *device_alloc_host(void *device, size_t bytes)
{
    void *memory = NULL;
    cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocMapped);
    if (status == cudaErrorMemoryAllocation) {
        fprintf(stderr,
                "cuda: %.1f MiB of the host's memory were wanted, pinned, for train.offload, and cannot be had\n",
                (double)bytes / (1 << 20));
        exit(7);
    }
    CUDA(status);
    device_clear(device, memory, bytes);
    return memory;
}

void device_release_host(void *device, void *memory)
{
    struct device *d = device;
    device_wait(d, NULL);
    CUDA(cudaFreeHost(memory));
}
