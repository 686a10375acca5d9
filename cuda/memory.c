/* Device memory, and the pinned memory through which values come and go. A put copies into the next piece of a ring and returns:
   the device fetches it when the stream gets there. A piece is used again only after the copy that read it is done. */
#include "device.h"
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES = 64, PIECE = 1 << 20 };

struct ring { char *pinned; cudaEvent_t read[PIECES]; int next; };

void ring_open(struct device *d)
{
    struct ring *r = d->ring = xcalloc(1, sizeof *r);
    CUDA(cudaHostAlloc((void **)&r->pinned, (size_t)PIECES * PIECE, cudaHostAllocDefault));
    for (int i = 0; i < PIECES; i++) CUDA(cudaEventCreateWithFlags(&r->read[i], cudaEventDisableTiming));
}

void ring_close(struct device *d)
{
    struct ring *r = d->ring;
    for (int i = 0; i < PIECES; i++) CUDA(cudaEventDestroy(r->read[i]));
    CUDA(cudaFreeHost(r->pinned));
    free(r);
}

/* The next piece, when the copy that read it last is done. */
static char *next_piece(struct ring *r, int *piece)
{
    *piece = r->next++ % PIECES;
    CUDA(cudaEventSynchronize(r->read[*piece]));            /* of an event never recorded: nothing */
    return r->pinned + (size_t)*piece * PIECE;
}

void device_put(void *device, void *to, const void *host, size_t bytes)
{
    struct device *d = device;
    struct ring *r = d->ring;
    int piece;
    for (size_t at = 0, n; at < bytes; at += n) {
        char *pinned = next_piece(r, &piece);
        n = bytes - at < PIECE ? bytes - at : PIECE;
        memcpy(pinned, (const char *)host + at, n);
        CUDA(cudaMemcpyAsync((char *)to + at, pinned, n, cudaMemcpyHostToDevice, d->stream));
        CUDA(cudaEventRecord(r->read[piece], d->stream));
    }
}

void device_get(void *device, void *host, const void *from, size_t bytes)
{
    struct device *d = device;
    int piece;
    for (size_t at = 0, n; at < bytes; at += n) {
        char *pinned = next_piece(d->ring, &piece);
        n = bytes - at < PIECE ? bytes - at : PIECE;
        CUDA(cudaMemcpyAsync(pinned, (const char *)from + at, n, cudaMemcpyDeviceToHost, d->stream));
        device_wait(d);
        memcpy((char *)host + at, pinned, n);
    }
}

void device_copy(void *device, void *to, const void *from, size_t bytes)
{
    struct device *d = device;
    if (bytes) CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, d->stream));
}

void device_clear(void *device, void *memory, size_t bytes)
{
    struct device *d = device;
    if (bytes) CUDA(cudaMemsetAsync(memory, 0, bytes, d->stream));
}

/* SLUICE_CUDA_MEMORY=apart: what runs past a tensor does not fall into its neighbour. */
bool device_apart(void) { return device_switch("SLUICE_CUDA_MEMORY", "apart", "arena"); }

void *device_alloc(void *device, size_t bytes)
{
    void *memory = NULL;
    if (bytes == 0) return NULL;
    if (cudaMalloc(&memory, bytes) != cudaSuccess) {
        fprintf(stderr, "cuda: %zu bytes of device memory were wanted, %zu are free\n", bytes, device_room());
        exit(7);
    }
    device_clear(device, memory, bytes);
    return memory;
}

void device_release(void *device, void *memory, size_t bytes)
{
    struct device *d = device;
    (void)bytes;
    if (!memory) return;
    device_wait(d);
    CUDA(cudaFree(memory));
}
