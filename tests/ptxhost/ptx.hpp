// What a translation of PTX calls: instructions, as forms.lua names them.
#pragma once
#include "ptxhost.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <immintrin.h>
#include <type_traits>

typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef float f32; typedef double f64;

// g++ -O1 inlines nothing unasked.
#define INLINE static inline __attribute__((always_inline))

#include "ptx_integer.hpp"
#include "ptx_float.hpp"
#include "ptx_half.hpp"
#include "ptx_memory.hpp"
#include "ptx_warp.hpp"
