/* What the files of the emulated libcudart share. Private to them: the rest of the machine sees ptxhost.h. */
#ifndef SLUICE_PTXHOST_CUDART_H
#define SLUICE_PTXHOST_CUDART_H

#include "ptxhost.h"
#include <cuda_runtime_api.h>

/* ---- every call (cudart.c) ---- */

/* Stands first in each function of the API: one call at a time, and none from a stream's own work. */
#define API __attribute__((cleanup(cudart_leave), unused)) const char *api_call = cudart_enter(__func__)
const char *cudart_enter(const char *call);
void cudart_leave(const char **call);

cudaError_t cudart_refuse(cudaError_t error);               /* one that a correct program may meet; cudaGetLastError tells it */
cudaError_t cudart_fail(cudaError_t error, const char *format, ...) __attribute__((format(printf, 2, 3)));  /* a mistake, reported */
int64_t cudart_setting(const char *name, int64_t usual);    /* an integer of the environment */
cudaError_t cudart_lost(void);                              /* PTXHOST_LOST=N: when N kernels have run, nothing can be given to the device or waited for any more */
void cudart_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));   /* printed with PTXHOST_TRACE=1 */
void *cudart_allocate(size_t bytes);                        /* zeroed */

/* ---- work: what streams and graphs are made of (cudart.c) ---- */

enum work_kind { WORK_KERNEL, WORK_COPY, WORK_SET, WORK_HOST, WORK_LIBRARY, WORK_KINDS };
struct work {
    enum work_kind kind; const char *what; void (*run)(const void *data); const void *data; size_t bytes;
    enum ph_progress (*step)(const void *data);             /* in place of run */
};
enum ph_progress work_run(const struct work *w);            /* and trace and count it */
struct work work_copy(const struct work *w);                /* with its own data, for work_free */
void work_free(struct work *w);

/* ---- devices (cudart_device.c) ---- */

int device_current(void);
cudaError_t device_check(int device);                       /* refuses one that is not there */
uint64_t device_memory_bytes(void);

/* ---- memory (cudart_memory.c) ---- */

struct range { uint64_t address, bytes; int device; /* -1: a module's variable */ bool mapped; /* of the host */ };
const struct range *memory_find(uint64_t address);          /* the allocation in the device that holds it, or NULL */
const struct range *memory_pinned(uint64_t address);        /* the same of the host's pinned memory, where the device does not see it */
uint64_t memory_take(uint64_t bytes, int device);           /* 0: the device is full */
void memory_tell_checker(void);                             /* checking begins: tells it what is allocated already */
void memory_release_all(void);
void memory_print_leaks(void);

void cudart_settle(void);                                   /* what a process leaves at its end: counts; exit code 86 if something was reported */

/* ---- streams (cudart_stream.c) ---- */

/* A place in a stream's work, reached when the stream has done so much. No stream: reached. */
struct point { const struct CUstream_st *stream; uint64_t serial; };
struct node_set { int count, capacity; int *node; };
struct capture; struct graph_run;                           /* a launch of a graph */
struct CUstream_st {
    struct CUstream_st *next; int id, device, priority; bool blocking, destroyed;
    bool waits;                                             /* its first work does, for another process */
    struct entry *head, **tail; uint64_t enqueued, completed;
    struct capture *capture; struct node_set tips;          /* capturing: what the next node comes after */
};
struct CUstream_st *stream_find(cudaStream_t stream);       /* NULL, and reported: not one to be used */
cudaError_t stream_submit(cudaStream_t stream, const struct work *w);
cudaError_t stream_submit_at_once(const struct work *w);    /* on the legacy default stream, as the synchronous copies */
struct point stream_submit_graph(struct CUstream_st *s, struct graph_run *run, struct point after);
void stream_drain(struct point p);
void stream_drain_all(void);
struct CUstream_st *stream_list(void);

/* ---- graphs (cudart_graph.c) ---- */

enum ph_progress graph_run_step(struct graph_run *run);     /* one node at random of those that may run; done: it was the last */
void capture_add(struct CUstream_st *s, const struct work *w);
cudaError_t capture_forbid(const struct CUstream_st *s);    /* fails where a capture forbids what waits for s (NULL: or allocates) */
bool capture_is(const struct CUstream_st *s, uint64_t id);  /* what the stream captures, if anything */
uint64_t capture_record(const struct CUstream_st *s, struct node_set *tips);    /* what an event tells of a capturing stream; 0: it is not */
cudaError_t capture_wait(struct CUstream_st *s, uint64_t capture, const struct node_set *tips);

/* ---- modules (cudart_module.c) ---- */

struct function { struct function *next; const void *host; const char *name; const struct ph_kernel *kernel; int arch, dynamic_limit; /* -1: not set */ };
cudaError_t module_function(const void *function, struct function **f);     /* by its stub or its cudaKernel_t */
cudaError_t module_symbol(const void *symbol, struct range *found);
void module_load_variables(void);                           /* of every module, with their initial values */
#endif
