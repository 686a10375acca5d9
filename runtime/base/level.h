/* What is compiled once for each instruction set: the ops' kernels and the files of cpu/isa. There ISA is defined, and
   external names carry it. An op's file is also compiled once without: then it gives the op itself, the verb of the
   graph language, which knows no instruction set. */
#ifndef SLUICE_LEVEL_H
#define SLUICE_LEVEL_H

#ifdef ISA
#define ISA_JOIN(name, level) name##_##level
#define ISA_EXPAND(name, level) ISA_JOIN(name, level)
#define ISA_NAME(name) ISA_EXPAND(name, ISA)
#define KERNELS(name) extern const struct kernels ISA_NAME(cpu_##name); const struct kernels ISA_NAME(cpu_##name)
#define gemm(...) ISA_NAME(gemm)(__VA_ARGS__)
#define gemm_here(...) ISA_NAME(gemm_here)(__VA_ARGS__)
#define packed_bytes(...) ISA_NAME(packed_bytes)(__VA_ARGS__)
#define pack(...) ISA_NAME(pack)(__VA_ARGS__)
#define narrow_rows(...) ISA_NAME(narrow_rows)(__VA_ARGS__)
#define narrow_panel(...) ISA_NAME(narrow_panel)(__VA_ARGS__)
#define row_widen(...) ISA_NAME(row_widen)(__VA_ARGS__)
#define row_narrow(...) ISA_NAME(row_narrow)(__VA_ARGS__)
#define key_normals(...) ISA_NAME(key_normals)(__VA_ARGS__)
#else
#define KERNELS(name) static const struct kernels cpu_##name __attribute__((unused))
#endif

#endif
