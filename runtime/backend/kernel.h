/* What a kernel sees. A kernel computes one use of an op from tensors that the plan has placed; it never
   allocates. Work is cut into blocks by shape, never by the number of threads, so the bits do not depend on it.

   backward adds: din = beta*din + g, where beta 0 means "do not read" (the memory may hold NaN). din[i].data
   NULL: not wanted. dout[k].data NULL: nothing reaches output k. */
#ifndef SLUICE_KERNEL_H
#define SLUICE_KERNEL_H

#include "base/level.h"
#include "graph/attributes.h"
#include "graph/graph.h"
#include <string.h>

enum format { FORMAT_REAL, FORMAT_BF16, FORMAT_I32, FORMAT_U8 };
static inline size_t element_bytes(enum format f)
{
    static const size_t bytes[] = {
        [FORMAT_REAL] = sizeof(real), [FORMAT_BF16] = 2, [FORMAT_I32] = 4, [FORMAT_U8] = 1
    };
    return bytes[f];
}

/* packed: a weight once more, in the layout that the backend's products read fastest; NULL: it has none. */
struct tensor { void *data; struct shape shape; enum format format; void *packed; };

/* One optimizer step (or evaluation batch) as kernels may know it. */
struct step { int64_t number; int micro, micros; };

struct args {
    const void *attr;
    int n_in;
    const struct tensor *in, *out, *save, *work;
    const struct tensor *dout, *din;
    const real *beta;                                       /* one per input, 0 or 1 */
    const struct step *step;
    void *device;    /* the backend's own: the thread pool of the CPU, the stream of a GPU */
    void *scratch;    /* what the backend asked for beside the op's work; every call has the same */
    const struct args *next;    /* a later call that this one computes as well; NULL: none */
    int64_t first_row;    /* tensors that are cut by rows begin here; offsets count from row 0 */
};

/* joint does both at once: it writes the outputs and adds the gradients. NULL: the op has no such kernel. */
typedef void kernel(const struct args *a);
struct kernels { kernel *forward, *backward, *joint; };

/* Calls body for [0,items) in blocks of `grain` items, on all threads; body(a, from, to) owns its block.
   block number = from / grain. Returns when all are done. */
void each(const struct args *a, int64_t items, int64_t grain,
          void (*body)(const struct args *a, int64_t from, int64_t to));
static inline int64_t blocks_of(int64_t items, int64_t grain) { return (items + grain - 1) / grain; }

/* Values of REAL and integer tensors. */
static inline real *reals(const struct tensor *t) { return (real *)t->data; }
static inline int32_t *ints(const struct tensor *t) { return (int32_t *)t->data; }

/* ACT tensors may be bf16. A kernel works on rows of real: read gives a row (in place, or converted into
   `scratch`); write gives a buffer for one; add gives one holding beta times what is there; done stores it.

       real buffer[n];
       real *y = row_write(&a->out[0], t * n, n, buffer);   ...   row_done(&a->out[0], t * n, n, y);          */
const real *row_widen(const struct tensor *t, int64_t at, int64_t n, real *scratch);
void row_narrow(const struct tensor *t, int64_t at, int64_t n, const real *row);

static inline const real *row_read(const struct tensor *t, int64_t at, int64_t n, real *scratch)
{
    return t->format == FORMAT_REAL ? (const real *)t->data + at : row_widen(t, at, n, scratch);
}
static inline real *row_write(const struct tensor *t, int64_t at, int64_t n, real *scratch)
{
    (void)n;
    return t->format == FORMAT_REAL ? (real *)t->data + at : scratch;
}
static inline real *row_add(const struct tensor *t, int64_t at, int64_t n, real beta, real *scratch)
{
    real *row = row_write(t, at, n, scratch);
    if (beta == 0) memset(row, 0, (size_t)n * sizeof *row);
    else if (t->format != FORMAT_REAL) row_widen(t, at, n, scratch);
    return row;
}
static inline void row_done(const struct tensor *t, int64_t at, int64_t n, const real *row)
{
    if (t->format != FORMAT_REAL) row_narrow(t, at, n, row);
}

/* Normals of a key: to[i] is number first + i, as key_normal gives it. One beyond ±cut is drawn again under the next
   step number; cut 0: none is. The same bits at every instruction set. */
void key_normals(struct key k, uint64_t first, int64_t n, float cut, float *to);

#endif
