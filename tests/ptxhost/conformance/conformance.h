/* Does an instruction compute what the PTX manual says? Each form that the emulator knows (forms.lua) is run over edge values and compared
   with scalar C. The same program on a GPU compares the hardware, so it says where emulator, manual and hardware part.

     conformance                a table of forms; exit code 1 if one fails
     conformance contracted     also if products and sums that may become one instruction do not
     conformance list           the opcodes tested, for translate.lua --untested

   A group of forms is one .cu file: value.h for those that map registers to a register, and files with their own kernels. */
#ifndef SLUICE_CONFORMANCE_H
#define SLUICE_CONFORMANCE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef float f32; typedef double f64;

extern bool conform_listing;        /* groups name their opcodes and run nothing */
extern bool conform_contracted;     /* products and sums that may become one instruction must */
extern cudaStream_t conform_stream;  /* of every kernel and copy */
extern int conform_arch;            /* 80, 90, ...: what the kernels were compiled for */
void conform_name(const char *opcode);
/* One line of the table: the first failure, or NULL. */
void conform_result(const char *opcode, long cases, const char *failure);
void conform_skip(const char *opcode, int needs);
u64 conform_random();

void check_integer();
void check_compare();
void check_floating();
void check_approximate();
void check_half();
void check_convert();
void check_memory();
void check_atomic();
void check_warp();
void check_matrix();
void check_special();
void check_contraction();

/* In device code: the statement only where the architecture knows its instruction. */
#ifdef __CUDA_ARCH__
#define ON_ARCH(least, ...) do { if constexpr (__CUDA_ARCH__ >= (least) * 10) { __VA_ARGS__; } } while (0)
#else
#define ON_ARCH(least, ...) do {} while (0)
#endif

/* Every CUDA call of the program: a failure ends it. */
#define CUDA(call) do { cudaError_t e_ = (call); if (e_ != cudaSuccess) { \
    fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e_)); exit(2); } } while (0)

/* n elements on the device. */
template <class T> static T *device(const T *values, size_t n)
{
    T *d;
    CUDA(cudaMalloc((void **)&d, n * sizeof *d));
    CUDA(cudaMemsetAsync(d, 0, n * sizeof *d, conform_stream));
    if (values) CUDA(cudaMemcpyAsync(d, values, n * sizeof *d, cudaMemcpyHostToDevice, conform_stream));
    CUDA(cudaStreamSynchronize(conform_stream));
    return d;
}
/* What the kernel launched last left there. */
template <class T> static void host(T *values, const T *d, size_t n)
{
    CUDA(cudaGetLastError());
    CUDA(cudaMemcpyAsync(values, d, n * sizeof *d, cudaMemcpyDeviceToHost, conform_stream));
    CUDA(cudaStreamSynchronize(conform_stream));
}

#endif
