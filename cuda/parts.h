/* The parts of the CUDA backend, put together in backend.c. */
#ifndef SLUICE_CUDA_PARTS_H
#define SLUICE_CUDA_PARTS_H

#include "backend/backend.h"
#include "device.h"

/* memory.c */
void ring_open(struct device *d);
void ring_close(struct device *d);
bool device_separate(void);
void *device_alloc(void *device, size_t bytes);
void device_release(void *device, void *memory, size_t bytes);
void *device_alloc_host(void *device, size_t bytes);
void device_release_host(void *device, void *memory);
void device_clear(void *device, void *memory, size_t bytes);
void device_put(void *device, void *to, const void *host, size_t bytes);
void device_copy(void *device, void *to, const void *from, size_t bytes);
void device_get(void *device, void *host, const void *from, size_t bytes);
void device_fetch(void *device, const void *from, size_t bytes);
void device_fetched(void *device, void *host);

/* clock.c */
void clock_open(struct device *d);
void clock_close(struct device *d);
void device_stamp(void *device, int number);
double device_between(void *device, int first, int second);

/* fail.c */
/* whether it says `on`; unset is `off`, another word ends the program */
bool device_switch(const char *variable, const char *on, const char *off);

/* device.c */
int device_probe(char isa[16], struct err *e);
int device_probe_room(size_t *bytes, struct err *e);
bool device_describe(int line, char text[256]);
size_t device_room(void);                                   /* without what cuBLASLt will take */
void *device_open(int threads);
void device_close(void *device);

/* comm.c: nothing of it where there is one rank, but the wait for the main stream */
extern const struct comm *(*comm_of_program)(void);
void exchange_describe(char text[64]);                      /* the library, for a person */
void exchange_open(struct device *d);
void exchange_close(struct device *d);
void device_wait(struct device *d, cudaEvent_t event);      /* NULL: for all that was given */
void device_reduce(void *device, real *data, int64_t n, enum reduction how, unsigned over);
void device_broadcast(void *device, void *data, size_t bytes, int root, unsigned over);
/* what struct comm has of this name, of memory of the device; the main stream goes on when all is there */
void device_exchange(struct device *d, const struct parcel *parcels, int n);
void device_meet(void *device);
int64_t device_beside(void *device, kernel *run, const struct args *a);
void device_settle(void *device, int64_t number);

/* channel.c */
bool channel_any(const struct device *d);                   /* some are open */
void channel_close(struct device *d);                       /* all */
void device_open_channel(void *device, const struct channel *c);
void device_give(void *device, const struct parcel *p, int channel);
void device_take(void *device, const struct parcel *p, int channel);

/* largest.cu */
void cuda_largest(cudaStream_t stream, float *to, const float *from, int n, int ranks);

/* graph.c */
bool device_record(void *device);
void *device_recorded(void *device);
void device_replay(void *device, void *recording);
void device_forget(void *device, void *recording);

/* elementwise.cu: of an activation whose rows are multiplied; NULL: it is none, or they are of odd width */
kernel *fuse_weighed(kernel *activation, const struct args *by);

/* rmsnorm.cu */
kernel *fuse_add_rmsnorm(const struct args *norm);          /* of a sum that is normed; NULL: its rows are too wide */

/* rope.cu */
kernel *fuse_rmsnorm_rope(const struct args *norm, const struct args *rope);    /* NULL: heads of such widths are not */

/* grouped_library.cu: what grouped_matmul.cu calls where it is wanted */
bool grouped_by_library(void);
void grouped_open(void);                                    /* refuses it where steps are recorded */
void grouped_library_forward(const struct args *a);
void grouped_library_backward(const struct args *a);

/* adamw.cu, lion.cu, schedule_free.cu, sgd.cu, average.cu: of two weights, and of as many more as follow */
kernel *fuse_adamw(const struct args *a, const struct args *b);
kernel *fuse_lion(const struct args *a, const struct args *b);
kernel *fuse_schedule_free(const struct args *a, const struct args *b);
kernel *fuse_sgd(const struct args *a, const struct args *b);
kernel *fuse_average(const struct args *a, const struct args *b);

/* fill.cu */
void cuda_fill(void *device, const struct fill *f);
void cuda_pack(void *device, const struct tensor *weight);

#endif
