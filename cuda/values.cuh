/* Ops on one value at a time: z = f(x, y). Memory bounds them: each tensor that the formula names is read or written
   once, eight values by a thread, which is the least. Forward moves its operands and z; backward what its formula
   reads, and the gradients. */
#ifndef SLUICE_CUDA_VALUES_CUH
#define SLUICE_CUDA_VALUES_CUH

#include "kernel.cuh"

#include "graph/elementwise.h"

/* Op is a struct of three functions, and TWO: whether a gradient goes to y:

       static __device__ float value(float x, float y, float p, float q);
       static __device__ float along_x(float x, float y, float z, float dz, float p, float q);
       static __device__ float along_y(float x, float y, float dz, float p, float q);

   An operand that is not given reads as 0; a gradient that is not wanted is not stored. Slopes name x or z, which come
   the same way. */

static __device__ inline float given(struct view x, int64_t i) { return x.data ? load(x, i) : 0; }
static __device__ inline struct eight given8(struct view x, int64_t i)
{
    if (x.data) return load8(x, i);
    return {};
}

template <class Op>
static __global__ void __launch_bounds__(BLOCK)
values_forward(struct view x, struct view y, struct view z, float p, float q, int64_t n)
{
    int64_t whole = n / LANES;
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight u = given8(x, i * LANES), v = given8(y, i * LANES);
        for (int l = 0; l < LANES; l++) u.v[l] = Op::value(u.v[l], v.v[l], p, q);
        store8(z, i * LANES, u);
    }
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items())
        store(z, i, Op::value(given(x, i), given(y, i), p, q));
}

/* z, and w = z times the value of its row, each of `wide` eights: z is not read again. */
template <class Op>
static __global__ void __launch_bounds__(BLOCK)
values_weighed(struct view x, struct view y, struct view z, struct view by, struct view w, float p, float q,
               int64_t eights, int wide)
{
    for (int64_t i = first_item(); i < eights; i += all_items()) {
        struct eight u = given8(x, i * LANES), v = given8(y, i * LANES);
        float factor = load(by, (unsigned)i / (unsigned)wide);
        for (int l = 0; l < LANES; l++) u.v[l] = as_stored(z, Op::value(u.v[l], v.v[l], p, q));
        store8(z, i * LANES, u);
        for (int l = 0; l < LANES; l++) u.v[l] *= factor;
        store8(w, i * LANES, u);
    }
}

template <class Op>
static __global__ void __launch_bounds__(BLOCK) values_backward(struct view x, struct view y, struct view dz, float p,
                                                                float q, struct sum dx, struct sum dy, int64_t n)
{
    int64_t whole = n / LANES;
    for (int64_t i = first_item(); i < whole; i += all_items()) {
        struct eight u = given8(x, i * LANES), v = given8(y, i * LANES), d = load8(dz, i * LANES);
        for (int l = 0; l < LANES; l++) {                   /* slopes take the place of operands: registers are few */
            float first = u.v[l], second = v.v[l];
            u.v[l] = Op::along_x(first, second, first, d.v[l], p, q);
            if (Op::TWO) v.v[l] = Op::along_y(first, second, d.v[l], p, q);
        }
        add8(dx, i * LANES, u);
        if (Op::TWO) add8(dy, i * LANES, v);
    }
    for (int64_t i = whole * LANES + first_item(); i < n; i += all_items()) {
        float u = given(x, i), v = given(y, i), d = load(dz, i);
        add(dx, i, Op::along_x(u, v, u, d, p, q));
        if (Op::TWO) add(dy, i, Op::along_y(u, v, d, p, q));
    }
}

template <class Op> static inline void forward_values(const struct args *a)
{
    const struct elementwise_attr *attr = (const struct elementwise_attr *)a->attr;
    int64_t n = shape_count(a->out[0].shape);
    struct view none = {};
    LAUNCH(a, values_forward<Op>, grid_for(a, n, BLOCK * LANES), BLOCK, 0, view_of(a->in[0]),
           a->n_in > 1 ? view_of(a->in[1]) : none, view_of(a->out[0]), attr ? (float)attr->p : 0,
           attr ? (float)attr->q : 0, n);
}

/* With the call of mul_heads that follows. */
template <class Op> static inline void forward_weighed(const struct args *a)
{
    const struct elementwise_attr *attr = (const struct elementwise_attr *)a->attr;
    const struct args *b = a->next;
    int64_t eights = shape_count(a->out[0].shape) / LANES;
    struct view none = {};
    LAUNCH(a, values_weighed<Op>, grid_for(a, eights, BLOCK), BLOCK, 0, view_of(a->in[0]),
           a->n_in > 1 ? view_of(a->in[1]) : none, view_of(a->out[0]), view_of(b->in[1]), view_of(b->out[0]),
           attr ? (float)attr->p : 0, attr ? (float)attr->q : 0, eights, (int)(shape_last(b->in[0].shape) / LANES));
}

/* reads: as in the table. */
template <class Op> static inline void backward_values(const struct args *a, int reads)
{
    const struct elementwise_attr *attr = (const struct elementwise_attr *)a->attr;
    int64_t n = shape_count(a->out[0].shape);
    struct view none = {},
                x = reads & X_ ? view_of(a->in[0]) : reads & Z_ ? view_of(a->out[0]) : none,
                y = reads & Y_ ? view_of(a->in[1]) : none;
    struct sum nothing = {};
    LAUNCH(a, values_backward<Op>, grid_for(a, n, BLOCK * LANES), BLOCK, 0, x, y, view_of(a->dout[0]),
           attr ? (float)attr->p : 0, attr ? (float)attr->q : 0, sum_of(a, 0),
           a->n_in > 1 ? sum_of(a, 1) : nothing, n);
}

#endif
