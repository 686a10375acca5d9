/* A backend: a table of kernels and how to hold memory. `cpu` is the embedded default. */
#ifndef SLUICE_BACKEND_H
#define SLUICE_BACKEND_H

#include "kernel.h"

struct backend {
    const char *name;
    bool cuts_rows;                                         /* calls may run on a part of their rows, from any of its threads */
    const struct kernels *(*kernels)(int op);               /* none is missing */
    void *(*alloc)(size_t bytes);                           /* zeroed; never NULL: prints the size wanted and exits 7 */
    void (*release)(void *memory, size_t bytes);
    void (*clear)(void *memory, size_t bytes);              /* what alloc gave: zeroed again */
    void (*put)(void *device, const void *host, size_t bytes);
    void (*get)(void *host, const void *device, size_t bytes);
    /* Weights are packed once a step, where products with activations of this format gain by it. */
    size_t (*packed_bytes)(struct shape weight, enum format act);     /* 0: they do not */
    void (*pack)(void *device, const struct tensor *weight);                        /* writes weight->packed */
    void *(*open)(int threads);                             /* what kernels get as args->device */
    void (*close)(void *device);
};

extern const struct backend backend_cpu;

#endif
