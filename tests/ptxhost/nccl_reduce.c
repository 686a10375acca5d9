/* Sums and their like, in each type of NCCL's. */
#include "nccl_reduce.h"
#include "narrow.h"

size_t reduce_size(ncclDataType_t type)
{
    static const uint8_t bytes[] = {
        [ncclInt8] = 1, [ncclUint8] = 1, [ncclInt32] = 4, [ncclUint32] = 4, [ncclInt64] = 8, [ncclUint64] = 8,
        [ncclFloat16] = 2, [ncclFloat32] = 4, [ncclFloat64] = 8, [ncclBfloat16] = 2,
    };
    return (unsigned)type < sizeof bytes ? bytes[type] : 0;
}

#define COMBINE(op, x, y) ((op) == ncclProd ? (x) * (y) : (op) == ncclMax ? ((y) > (x) ? (y) : (x)) : (op) == ncclMin ? ((y) < (x) ? (y) : (x)) : (x) + (y))
#define PLAIN(T) { T *x = to; const T *y = from; for (size_t i = 0; i < n; i++) x[i] = (T)COMBINE(op, x[i], y[i]); return; }
#define NARROW(widen, narrow) { \
    uint16_t *x = to; \
    const uint16_t *y = from; \
    for (size_t i = 0; i < n; i++) { \
        float a = widen(x[i]), b = widen(y[i]); \
        x[i] = narrow(COMBINE(op, a, b)); \
    } \
    return; \
}

/* Each step rounds to the type, as the library's does. */
void reduce_combine(void *to, const void *from, size_t n, ncclDataType_t type, ncclRedOp_t op)
{
    switch ((int)type) {
    case ncclInt8: PLAIN(int8_t)
    case ncclUint8: PLAIN(uint8_t)
    case ncclInt32: PLAIN(int32_t)
    case ncclUint32: PLAIN(uint32_t)
    case ncclInt64: PLAIN(int64_t)
    case ncclUint64: PLAIN(uint64_t)
    case ncclFloat16: NARROW(f16_widen, f16_narrow)
    case ncclFloat32: PLAIN(float)
    case ncclFloat64: PLAIN(double)
    case ncclBfloat16: NARROW(bf16_widen, bf16_narrow)
    }
}

#define DIVIDED(T) { T *x = data; for (size_t i = 0; i < n; i++) x[i] = (T)(x[i] / (T)ranks); return; }
#define SCALED(T) { T *x = data; for (size_t i = 0; i < n; i++) x[i] *= 1 / (T)ranks; return; }
#define SCALED_NARROW(widen, narrow) { \
    uint16_t *x = data; \
    float share = widen(narrow(1 / (float)ranks)); \
    for (size_t i = 0; i < n; i++) x[i] = narrow(widen(x[i]) * share); \
    return; \
}

void reduce_scale_before(void *data, size_t n, ncclDataType_t type, int ranks)
{
    switch ((int)type) {
    case ncclFloat16: SCALED_NARROW(f16_widen, f16_narrow)
    case ncclFloat32: SCALED(float)
    case ncclFloat64: SCALED(double)
    case ncclBfloat16: SCALED_NARROW(bf16_widen, bf16_narrow)
    }
}

void reduce_divide_after(void *data, size_t n, ncclDataType_t type, int ranks)
{
    switch ((int)type) {
    case ncclInt8: DIVIDED(int8_t)
    case ncclUint8: DIVIDED(uint8_t)
    case ncclInt32: DIVIDED(int32_t)
    case ncclUint32: DIVIDED(uint32_t)
    case ncclInt64: DIVIDED(int64_t)
    case ncclUint64: DIVIDED(uint64_t)
    }
}
