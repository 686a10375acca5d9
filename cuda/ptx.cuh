/* Instructions of sm_80 and later for which CUDA C++ has no words: asynchronous copies to shared memory, matrix
   fragments and their products, the exponential. All inline PTX is here. */
#ifndef SLUICE_CUDA_PTX_CUH
#define SLUICE_CUDA_PTX_CUH

#include <stdint.h>

static __device__ inline uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* ---- copies from global to shared memory that registers do not see ---- */

/* BYTES (4, 8 or 16) to an address aligned as much; zeros where there is nothing: `from` is not read then, yet must be
   a global address. Done after copy_wait, seen by other threads after the barrier that follows. */
template <int BYTES> static __device__ inline void copy_async(void *to, const void *from, bool there)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    int bytes = there ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                     "l"(__cvta_generic_to_global(from)), "r"(bytes)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)),
                     "l"(__cvta_generic_to_global(from)), "n"(BYTES), "r"(bytes)
                     : "memory");
}

/* Ends a group of this thread's copies; waits until at most LEFT groups are under way. */
static __device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT> static __device__ inline void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

/* ---- matrices of bf16 ---- */

/* 8 x 8 matrices from shared memory: lane 8m + i gives the address of row i of matrix m, 16 bytes. Lane l gets of each
   the values (l / 4, 2 (l % 4)) and the next of the row; transposed: (2 (l % 4), l / 4) and the next of the column. */
static __device__ inline void load_matrix(uint32_t (&m)[1], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(m[0])
                 : "r"(shared_address(row))
                 : "memory");
}
static __device__ inline void load_matrix(uint32_t (&m)[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(m[0]), "=r"(m[1])
                 : "r"(shared_address(row))
                 : "memory");
}
static __device__ inline void load_matrix(uint32_t (&m)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(shared_address(row)) : "memory");
}
static __device__ inline void load_matrix_transposed(uint32_t (&m)[1], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(m[0])
                 : "r"(shared_address(row))
                 : "memory");
}
static __device__ inline void load_matrix_transposed(uint32_t (&m)[2], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(m[0]), "=r"(m[1])
                 : "r"(shared_address(row))
                 : "memory");
}
static __device__ inline void load_matrix_transposed(uint32_t (&m)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(shared_address(row)) : "memory");
}

/* c [16,8] += a [16,16] b [16,8] in float. With l the lane, i the register and each register two neighbours, the lower
   first: a: row l / 4 + 8 (i % 2), columns 2 (l % 4) + 8 (i / 2), +1;  b: rows 2 (l % 4) + 8 i, +1, column l / 4; c:
   row l / 4 + 8 (i / 2), column 2 (l % 4) + i % 2. */
static __device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* ---- functions ---- */

/* 2^x within two units in the last place; below -126: 0. */
static __device__ inline float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
