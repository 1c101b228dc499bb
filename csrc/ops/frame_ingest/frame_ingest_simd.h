// What frame_ingest needs beyond core/simd.h: samples to floats, fused multiply-add, and a filter's gathers as
// permutes.
#pragma once

#include <cstdint>

#include "core/simd.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC bug 105593: its own avx512fintrin.h warns wherever an unmasked intrinsic is inlined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace vqafast {
namespace VQAFAST_ISA {

using Half = std::uint16_t;  // the bits of an IEEE binary16

VQAFAST_INLINE void store(VFloat v, Half* to) { store_half(v, to); }

#if defined(__AVX512F__)

#define VQAFAST_INGEST_PERMUTES 1
constexpr int kPermuteWindow = 64;
using Index = __m512i;

VQAFAST_INLINE VFloat load(const std::uint8_t* p) {
  return (VFloat)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
VQAFAST_INLINE VFloat load(const std::uint16_t* p) {
  return (VFloat)_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
VQAFAST_INLINE VFloat mul_add(VFloat a, VFloat b, VFloat c) {
  return (VFloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
VQAFAST_INLINE VFloat clamp(VFloat a, VFloat low, VFloat high) {
  return (VFloat)_mm512_max_ps((__m512)low, _mm512_min_ps((__m512)a, (__m512)high));
}

// a0 b0 a1 b1 ...: the first kLanes of them, then the others.
VQAFAST_INLINE void interleave(VFloat a, VFloat b, VFloat* low, VFloat* high) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  *low = (VFloat)_mm512_permutex2var_ps((__m512)a, first, (__m512)b);
  *high = (VFloat)_mm512_permutex2var_ps((__m512)a, second, (__m512)b);
}

VQAFAST_INLINE Index window_index(const std::int32_t* start) {
  return _mm512_sub_epi32(_mm512_loadu_si512(start), _mm512_set1_epi32(start[0]));
}
// Lane i is base[index[i]], index in 0..16*kVectors-1; kVectors is 1, 2 or 4.
template <int kVectors>
VQAFAST_INLINE VFloat pick(const float* base, Index index) {
  const auto at = [base](int offset) __attribute__((always_inline)) { return _mm512_loadu_ps(base + offset); };
  if constexpr (kVectors == 1) {
    return (VFloat)_mm512_permutexvar_ps(index, at(0));
  } else if constexpr (kVectors == 2) {
    return (VFloat)_mm512_permutex2var_ps(at(0), index, at(16));
  } else {
    const __mmask16 upper = _mm512_cmpgt_epi32_mask(index, _mm512_set1_epi32(31));
    return (VFloat)_mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(at(0), index, at(16)),
                                        _mm512_permutex2var_ps(at(32), index, at(48)));
  }
}

#elif defined(__AVX2__)

#define VQAFAST_INGEST_PERMUTES 1
constexpr int kPermuteWindow = 16;
using Index = __m256i;

VQAFAST_INLINE VFloat load(const std::uint8_t* p) {
  return (VFloat)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
VQAFAST_INLINE VFloat load(const std::uint16_t* p) {
  return (VFloat)_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
VQAFAST_INLINE VFloat mul_add(VFloat a, VFloat b, VFloat c) {
  return (VFloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
VQAFAST_INLINE VFloat clamp(VFloat a, VFloat low, VFloat high) {
  return (VFloat)_mm256_max_ps((__m256)low, _mm256_min_ps((__m256)a, (__m256)high));
}

VQAFAST_INLINE void interleave(VFloat a, VFloat b, VFloat* low, VFloat* high) {
  const __m256 even = _mm256_unpacklo_ps((__m256)a, (__m256)b), odd = _mm256_unpackhi_ps((__m256)a, (__m256)b);
  *low = (VFloat)_mm256_permute2f128_ps(even, odd, 0x20);
  *high = (VFloat)_mm256_permute2f128_ps(even, odd, 0x31);
}

VQAFAST_INLINE Index window_index(const std::int32_t* start) {
  return _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(start)), _mm256_set1_epi32(start[0]));
}
// Lane i is base[index[i]], index in 0..8*kVectors-1; kVectors is 1 or 2.
template <int kVectors>
VQAFAST_INLINE VFloat pick(const float* base, Index index) {
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(base), index);
  if constexpr (kVectors == 1) {
    return (VFloat)low;
  } else {
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(base + 8), index);
    const __m256i upper = _mm256_cmpgt_epi32(index, _mm256_set1_epi32(7));
    return (VFloat)_mm256_blendv_ps(low, high, _mm256_castsi256_ps(upper));
  }
}

#else

constexpr int kPermuteWindow = 0;

template <typename Sample>
VQAFAST_INLINE VFloat load(const Sample* p) {
  return VFloat{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
}
VQAFAST_INLINE VFloat mul_add(VFloat a, VFloat b, VFloat c) { return a * b + c; }
VQAFAST_INLINE VFloat clamp(VFloat a, VFloat low, VFloat high) {
  a = a < high ? a : high;
  return low > a ? low : a;
}
VQAFAST_INLINE void interleave(VFloat a, VFloat b, VFloat* low, VFloat* high) {
  *low = VFloat{a[0], b[0], a[1], b[1]};
  *high = VFloat{a[2], b[2], a[3], b[3]};
}

#endif

#ifdef VQAFAST_INGEST_PERMUTES
// Lane i of the result is the sum of the lanes of group i.
VQAFAST_INLINE __m256 sum_groups(const __m256 (&g)[8]) {
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(g[0], g[1]), _mm256_hadd_ps(g[2], g[3]));
  const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(g[4], g[5]), _mm256_hadd_ps(g[6], g[7]));
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
#endif

}  // namespace VQAFAST_ISA
}  // namespace vqafast
