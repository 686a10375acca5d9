/* Products of bf16 matrices by the dot product of AVX512_BF16. */
#ifndef SLUICE_AVX512BF16_H
#define SLUICE_AVX512BF16_H

#include "cpu/isa.h"

dot_product dot_avx512bf16;

#endif
