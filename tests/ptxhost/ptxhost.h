/* What the parts of the emulated GPU share. The PTX that nvcc makes of cuda/ is translated to C++ (translate.lua), one function
   a kernel, which computes one CUDA thread; this machine runs the threads of a block as fibers and stands in for the CUDA
   libraries. Test-only: nothing here is linked into the release.

     translate.lua   PTX -> C++; an instruction that is not in its table is a build error
     ptx.hpp         what the translation calls: instructions, with the rounding of the hardware
     core.c          fibers, barriers, warp-wide instructions, the grid
     report.c        reports, memory faults, the exit code
     check.c         races, bounds, uninitialised reads, alignment
     cudart*.c       libcudart: memory, streams, events, graphs, launches
     cublaslt.c      libcublasLt;  nccl*.c  libnccl
     ptxhost.cmake   how it is built, and tests run on it

   A device address is a number that no host code may follow: its storage lies PH_FAR bytes above it. */
#ifndef SLUICE_PTXHOST_H
#define SLUICE_PTXHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- translated kernels ---- */

struct ph_site { const char *file; int line; };             /* of the CUDA source, from .loc */
struct ph_range { uint32_t from, to; };
struct ph_param { uint32_t offset, bytes; };
struct ph_kernel {
    const char *name;                                       /* mangled */
    void (*run)(const unsigned char *params);               /* computes the current thread, on its fiber */
    uint32_t param_bytes; int params; const struct ph_param *param;
    uint32_t shared_bytes;                                  /* static, with red zones between its arrays; the dynamic array follows */
    int arrays; const struct ph_range *array;               /* the static shared arrays, as offsets */
    int max_threads;                                        /* .maxntid, 0: not given */
    const struct ph_site *sites;                            /* the module's table: every site of the kernel is an element */
};
struct ph_variable { const char *name; uint64_t bytes, align; const void *init; /* NULL: zeroes */ bool constant; uint64_t *address; /* set when the module is loaded */ };
struct ph_module { const char *name; int arch; bool checked; int kernels; const struct ph_kernel *kernel; int variables; const struct ph_variable *variable; };
void ph_register(const struct ph_module *m);                /* cudart_module.c; a constructor of each translation calls it */

/* ---- running (core.c) ---- */

struct ph_dim { uint32_t x, y, z; };
struct ph_thread {
    struct ph_dim tid; uint32_t linear, lane, warp; int state; void *sp; char *stack;
    void *operands; uint32_t mask; const void *op;          /* of the warp-wide instruction it waits in */
    const struct ph_site *site;                             /* of the last access, barrier or warp-wide instruction */
    char *local;                                            /* its local memory, for the translation's use */
    uint32_t syncs;                                         /* a Lamport clock of its __syncwarps since the last barrier, for the checker */
};
struct ph_block {
    const struct ph_kernel *kernel; struct ph_dim id, block, grid; uint64_t linear, launch;
    uint32_t threads, live;                                 /* live: not yet exited */
    uint64_t epoch;                                         /* of the process: one more at each block and each block barrier */
    char *shared; uint32_t shared_bytes;                    /* static + dynamic */
};
extern struct ph_thread *ph_now;                            /* NULL: no kernel is running */
extern struct ph_block ph_here;

void ph_grid(const struct ph_kernel *k, struct ph_dim grid, struct ph_dim block, uint32_t dynamic_bytes, const unsigned char *params);
void ph_barrier(const struct ph_site *site);                /* bar.sync 0 */
enum ph_reduce { PH_OR, PH_AND, PH_POPC };
uint32_t ph_barrier_reduce(uint32_t value, enum ph_reduce how, const struct ph_site *site);
/* A warp-wide instruction. Each lane of `mask` brings its operands; the last to arrive calls compute(operands[32], mask) for all, NULL
   for lanes outside; results lie in the operands when it returns. Lanes that disagree on mask or compute are reported. */
typedef void ph_warp_compute(void *const operands[32], uint32_t mask);
void ph_warp(uint32_t mask, ph_warp_compute *compute, void *operands, const struct ph_site *site);
void ph_warp_sync(uint32_t mask, const struct ph_site *site);   /* bar.warp.sync: orders memory, which ph_warp does not */

void *ph_map(size_t bytes, int protection);                 /* zeroes; costs nothing until touched */

/* Prints "ptxhost: ..." with kernel, block, thread and site, counts it, and makes the process end with exit code 86. */
void ph_report(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ph_reports(void);
void ph_finish(void);                                       /* ends the process with exit code 86 if something was reported */
const char *ph_where(const struct ph_site *site);           /* "cuda/rmsnorm.cu:33", seen from the working directory; until the next call */
void ph_watch(void);                                        /* for faults, from this host thread on; test frameworks like to take over */

/* ---- memory ---- */

#define PH_FAR 0x10000000000ull
#define PH_ARENA 0x200000000000ull                          /* first device address; where AddressSanitizer has nothing */
#define PH_ARENA_BYTES (64ull << 30)
static inline bool ph_is_device(uint64_t address) { return address - PH_ARENA < PH_ARENA_BYTES; }
static inline char *ph_storage(uint64_t address) { return (char *)(uintptr_t)(address + PH_FAR); }
#define PH_STACK (128u << 10)                               /* of a CUDA thread: local memory is on it */
#define PH_GUARD (64u << 10)                                /* below a stack: what is larger faults */
/* A generic address of shared memory: PH_SHARED + offset. Of local memory: the host address itself. */
#define PH_SHARED 0x700000000000ull
#define PH_SHARED_BYTES (256u << 10)
static inline bool ph_is_shared(uint64_t address) { return address - PH_SHARED < PH_SHARED_BYTES; }

/* What the checker is told (check.c). A checked translation calls ph_access before each access; address is generic. */
enum ph_kind { PH_READ, PH_WRITE, PH_ATOMIC, PH_START /* of an asynchronous copy: a write, but its bytes are there only with the PH_WRITE of the wait */ };
void ph_access(uint64_t address, uint32_t bytes, enum ph_kind kind, const struct ph_site *site);
void ph_check_on(bool on);                                  /* a checked module was registered */
void ph_check_block(void);                                  /* a block begins: its shared memory is new */
void ph_check_alloc(uint64_t address, uint64_t bytes);      /* exactly this range is allocated, unwritten */
void ph_check_free(uint64_t address, uint64_t bytes);
void ph_check_written(uint64_t address, uint64_t bytes);    /* by a copy, memset or library */
bool ph_check_readable(uint64_t address, uint64_t bytes, const char *who);      /* reports and returns false where some byte was never written */
/* For the program under test, which finds these two by dlsym: in an allocation that it divides itself, a range becomes one new,
   unwritten object, and a gap may not be touched by kernels. */
void ph_check_range(uint64_t address, uint64_t bytes);
void ph_check_gap(uint64_t address, uint64_t bytes);
/* A copy in the device: the bytes carry their state (written or not) along, as a copy of padding is no mistake. */
void ph_check_copied(uint64_t to, uint64_t from, uint64_t bytes);

/* ---- the device and its streams (cudart*.c), for the library stand-ins ---- */

/* sm_80, sm_90, sm_100 or sm_120 with few, oddly many multiprocessors; PTXHOST_ARCH chooses. */
struct ph_profile { int arch, multiprocessors; uint32_t shared_per_block, shared_per_multiprocessor, registers; };
const struct ph_profile *ph_profile(void);
/* Work of a stream: run at once, deferred, or captured, as the stream says. `data` is copied; owned bytes only. `stream` is a cudaStream_t. */
void ph_enqueue(void *stream, const char *what, void (*run)(const void *data), const void *data, size_t bytes);
/* Work that waits for other processes, and meanwhile lets other streams run: it is called until it is done. It comes after what the
   library gave last with the same `order`, a cudaEvent_t of its own, whatever the streams; only a graph and what is outside of it have no
   order. False: the stream takes nothing. */
enum ph_progress { PH_WAITS, PH_GOES_ON, PH_DONE };
bool ph_enqueue_steps(void *stream, const char *what, enum ph_progress (*step)(const void *data), const void *data, size_t bytes, void *order);
void ph_pass_time(void);                                    /* in a call that waits for another process: streams run meanwhile */
bool ph_in_bounds(uint64_t address, uint64_t bytes);        /* within one allocation */
uint32_t ph_random(uint32_t below);                         /* seeded by PTXHOST_SEED and the count of calls */
uint32_t ph_seed(void);
uint32_t ph_jitter(void);                                   /* PTXHOST_JITTER; not 0: approximate instructions move by up to 2 ulp, products sum in another order */

#ifdef __cplusplus
}
#endif
#endif
