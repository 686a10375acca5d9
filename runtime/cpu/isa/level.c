/* What this instruction set offers. */
#include "cpu/isa.h"
#include "graph/ops.h"

#define DECLARE(name, signature) extern const struct kernels ISA_NAME(cpu_##name);
OPS(DECLARE)
#define ROW(name, signature) [OP_##name] = &ISA_NAME(cpu_##name),
static const struct kernels *const kernels[OP_COUNT] = { OPS(ROW) };

extern const struct level ISA_NAME(isa_level);
const struct level ISA_NAME(isa_level) = { kernels, ISA_NAME(gemm), ISA_NAME(gemm_here),
    ISA_NAME(packed_bytes), ISA_NAME(pack), ISA_NAME(row_widen), ISA_NAME(row_narrow), ISA_NAME(key_normals) };
