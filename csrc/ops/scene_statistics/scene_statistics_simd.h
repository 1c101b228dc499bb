// What the formulas need of vectors beyond core/simd.h.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "core/simd.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

VQAFAST_INLINE VFloat root(VFloat v) {
#if defined(__AVX512F__)
  return (VFloat)_mm512_maskz_sqrt_ps(0xffff, (__m512)v);  // GCC 12 warns about _mm512_sqrt_ps
#elif defined(__AVX2__)
  return (VFloat)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
  return (VFloat)_mm_sqrt_ps((__m128)v);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

VQAFAST_INLINE VFloat magnitude(VFloat v) { return (VFloat)((VUInt)v & 0x7fffffffu); }

// NaN stays NaN.
VQAFAST_INLINE VFloat nonnegative(VFloat v) { return v < 0.0f ? VFloat{} : v; }

// All ones in the first `count` lanes, zero in the rest.
VQAFAST_INLINE VInt first_lanes(std::int64_t count) {
  VInt lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < static_cast<std::int32_t>(count);
}

VQAFAST_INLINE VFloat keep(VFloat v, VInt lanes) { return (VFloat)((VInt)v & lanes); }

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
