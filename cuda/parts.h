/* The parts of the CUDA backend, put together in backend.c. */
#ifndef SLUICE_CUDA_PARTS_H
#define SLUICE_CUDA_PARTS_H

#include "backend.h"
#include "device.h"

/* memory.c */
void ring_open(struct device *d);
void ring_close(struct device *d);
size_t device_room(void);
void *device_alloc(void *device, size_t bytes);
void device_release(void *device, void *memory, size_t bytes);
void device_clear(void *device, void *memory, size_t bytes);
void device_put(void *device, void *to, const void *host, size_t bytes);
void device_copy(void *device, void *to, const void *from, size_t bytes);
void device_get(void *device, void *host, const void *from, size_t bytes);

/* device.c */
int device_probe(char isa[16], struct err *e);
void *device_open(int threads);
void device_close(void *device);

/* graph.c */
bool device_record(void *device);
void *device_recorded(void *device);
void device_replay(void *device, void *recording);
void device_forget(void *device, void *recording);

/* fill.cu */
void cuda_fill(void *device, const struct fill *f);
void cuda_pack(void *device, const struct tensor *weight);

#endif
