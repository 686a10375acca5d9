/* A backend: a table of kernels and how to hold memory. `cpu` is the embedded default. */
#ifndef SLUICE_BACKEND_H
#define SLUICE_BACKEND_H

#include "kernel.h"

struct backend {
    const char *name;
    const struct kernels *const *kernels;                   /* [OP_COUNT], none missing */
    void *(*alloc)(size_t bytes);                           /* zeroed; never NULL: prints the size wanted and exits 7 */
    void (*release)(void *memory, size_t bytes);
    void (*put)(void *device, const void *host, size_t bytes);
    void (*get)(void *host, const void *device, size_t bytes);
    void *(*open)(int threads);                             /* what kernels get as args->device */
    void (*close)(void *device);
};

extern const struct backend backend_cpu;

#endif
