/* The two backends that a test holds against each other. */
#ifndef SLUICE_CUDA_DEVICES_H
#define SLUICE_CUDA_DEVICES_H

#include "backend/backend.h"

static const struct backend *cuda;
static void *host, *gpu;

static int open_devices(void **state)
{
    struct err e;
    char isa[16];
    (void)state;
    if (!(cuda = backend_find(BACKEND_CUDA, &e)) || cuda->probe(isa, &e) != 0) fail_msg("%s", e.text);
    host = backend_cpu.open(1);
    gpu = cuda->open(1);
    return 0;
}

static int close_devices(void **state)
{
    (void)state;
    cuda->close(gpu);
    backend_cpu.close(host);
    return 0;
}

#endif
