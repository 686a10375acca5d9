/* A backend: a table of kernels and how to hold memory. `cpu` is the embedded default; `cuda` is a shared object that
   is loaded when it is asked for.

   What a backend is given runs in the order in which it is given; `get` waits for it. Other calls need not wait. */
#ifndef SLUICE_BACKEND_H
#define SLUICE_BACKEND_H

#include "comm/comm.h"
#include "kernel.h"

/* Values of a leaf by its rule: number i of the leaf is set to value + std times the normal of its key. first: where
   the piece that this rank has of it begins. */
struct fill {
    void *to; struct shape shape; enum format format; struct init rule; struct key key;
    struct { int64_t matrix, row, column; } first;
};

/* Of comm's channels one from a rank to another: how many parcels are given before the first of them has to have been
   taken, of so many bytes at most. */
struct channel { int number, from, to, parcels; size_t bytes; };

struct backend {
    const char *name;
    bool cuts_rows;    /* calls may run on a part of their rows, from any of its threads */
    bool updates_pack;                                      /* ops that change a weight write its packed form as well */
    const struct kernels *(*kernels)(int op);               /* none is missing */
    /* bytes that the call needs beside the op's own work; NULL: none ever */
    size_t (*scratch)(int op, const struct args *a);
    /* The instruction set, which decides the bits: "avx512", "sm_90". -1: there is no device, e says what is missing.
       Touches no device in this process, which may still fork. */
    int (*probe)(char isa[16], struct err *e);
    /* for a person: line 0 the libraries, then a device each; false: no more. NULL: nothing to say */
    bool (*describe)(int line, char text[256]);
    size_t (*room)(void);                                   /* bytes that can still be had */
    int (*probe_room)(size_t *bytes, struct err *e);        /* the same, as probe does */
    size_t process_bytes;    /* what each process takes of the device beside its tensors */
    /* A kernel that computes both calls, a->next being the second: one that reads what the first makes, or updates that
       follow each other, of which it computes as many as are linked. NULL: there is none. */
    kernel *(*fuse)(int first, const struct args *a, int second, const struct args *b);
    /* a device, what kernels get as args->device; never NULL: prints what is missing and exits 7 */
    void *(*open)(int threads);
    void (*close)(void *device);
    /* to find mistakes: activations lie in memory of their own each, not in an arena. NULL: never */
    bool (*separate)(void);
    void *(*alloc)(void *device, size_t bytes);             /* zeroed; never NULL: prints the size wanted and exits 7 */
    void (*release)(void *device, void *memory, size_t bytes);
    /* of the host, which kernels reach, too, slower; zeroed. NULL: all memory is the host's */
    void *(*alloc_host)(void *device, size_t bytes);
    void (*release_host)(void *device, void *memory);
    void (*clear)(void *device, void *memory, size_t bytes);                        /* what they gave: zeroed again */
    void (*put)(void *device, void *to, const void *host, size_t bytes);
    void (*copy)(void *device, void *to, const void *from, size_t bytes);           /* within the device */
    void (*get)(void *device, void *host, const void *from, size_t bytes);
    /* get in two halves, for what is given meanwhile to run beside it: fetch asks for the bytes as they are after what
       was given so far, fetched waits for them alone. One at a time. NULL: get gains nothing by it. */
    void (*fetch)(void *device, const void *from, size_t bytes);
    void (*fetched)(void *device, void *host);
    void (*fill)(void *device, const struct fill *f);
    /* Weights are packed once a step, where products with activations of this format gain by it. */
    size_t (*packed_bytes)(struct shape weight, enum format act);                   /* 0: they do not */
    void (*pack)(void *device, const struct tensor *weight);                        /* writes weight->packed */
    /* Between ranks of comm_here(), where there are several, of memory of the device; as there. They may run beside
       what is given next, up to meet. */
    void (*reduce)(void *device, real *data, int64_t n, enum reduction how, unsigned over);
    void (*broadcast)(void *device, void *data, size_t bytes, int root, unsigned over);
    void (*meet)(void *device);
    /* A kernel that is a message between ranks, beside what is given next, after those that were given so: its number,
       from 1 on. settle: what is given next comes after all messages up to this number (INT64_MAX: all). */
    int64_t (*beside)(void *device, kernel *run, const struct args *a);
    void (*settle)(void *device, int64_t number);
    /* As comm's, of memory of the device. open_channel: by all ranks of a pipeline, in the order of channels, before
       anything goes through one; once more to widen it. NULL: there is nothing to open. */
    void (*open_channel)(void *device, const struct channel *c);
    void (*give)(void *device, const struct parcel *p, int channel);
    void (*take)(void *device, const struct parcel *p, int channel);
    /* Moments of the device's own time: stamp number n is passed when what was given before is done; between waits for
       the second. They are numbered from 0 on, and used again. NULL: calls are done when they return. */
    void (*stamp)(void *device, int number);
    double (*between)(void *device, int first, int second);                         /* seconds */
    /* What is given between record and recorded does not run: it becomes a recording, which replay runs as often as one
       likes, in less time than giving it anew. record NULL, or false: the backend gains nothing by it. */
    bool (*record)(void *device);
    void *(*recorded)(void *device);
    void (*replay)(void *device, void *recording);
    void (*forget)(void *device, void *recording);
};

extern const struct backend backend_cpu;

/* The words of train.backend, in the order of enum. NULL: it cannot be had here, and e says what is missing. */
#define BACKENDS "cpu cuda"
enum backend_kind { BACKEND_CPU, BACKEND_CUDA, BACKEND_KINDS };
const struct backend *backend_find(enum backend_kind kind, struct err *e);

/* What a shared object that holds a backend exports as `backend_entry`. comm_here: the program's, which it
   sets. */
struct backend_entry {
    uint64_t interface;                                     /* see base/object.h */
    const struct backend *of;
    const struct comm *(**comm_here)(void);
};

#endif
