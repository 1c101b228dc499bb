// Portable vectors for kernels that are compiled once per instruction set. Everything here, and everything in a
// <op>_kernels.h, lives in namespace VQAFAST_ISA, so that no two versions of a function share a symbol.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "core/host_device.h"

namespace vqafast {
namespace VQAFAST_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;  // float lanes of a vector

typedef float VFloat __attribute__((vector_size(kVectorBytes)));
typedef double VDouble __attribute__((vector_size(kVectorBytes)));
typedef std::int32_t VInt __attribute__((vector_size(kVectorBytes)));
typedef std::uint32_t VUInt __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t VHalf __attribute__((vector_size(kVectorBytes / 2)));  // raw IEEE half bits

// Vec<Real> and kLanesOf<Real> let one kernel serve float and double.
template <typename Real>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef VFloat type;
};
template <>
struct VectorOf<double> {
  typedef VDouble type;
};
template <typename Real>
using Vec = typename VectorOf<Real>::type;
template <typename Real>
constexpr int kLanesOf = kVectorBytes / static_cast<int>(sizeof(Real));

template <typename To, typename From>
VQAFAST_INLINE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs equal sizes");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

VQAFAST_INLINE VFloat splat(float value) { return value - VFloat{}; }
VQAFAST_INLINE VDouble splat(double value) { return value - VDouble{}; }

VQAFAST_INLINE VFloat load(const float* from) {
  VFloat v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
VQAFAST_INLINE VDouble load(const double* from) {
  VDouble v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

VQAFAST_INLINE void store(VFloat v, float* to) { std::memcpy(to, &v, sizeof(v)); }
VQAFAST_INLINE void store(VDouble v, double* to) { std::memcpy(to, &v, sizeof(v)); }

template <typename Real>
VQAFAST_INLINE Real sum_lanes(Vec<Real> v) {
  Real lanes[kLanesOf<Real>];
  store(v, lanes);
  for (int width = kLanesOf<Real> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}
VQAFAST_INLINE double sum(VDouble v) { return sum_lanes<double>(v); }

// The halves are added in the order of sum_lanes.
VQAFAST_INLINE float sum(VFloat v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
  __m256 halves[2];
  std::memcpy(halves, &v, sizeof(v));
  const __m256 eight = _mm256_add_ps(halves[0], halves[1]);
#else
  const __m256 eight = (__m256)v;
#endif
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
  return sum_lanes<float>(v);
#endif
}

VQAFAST_INLINE float half_to_float(std::uint16_t half) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(half & 0x7fffu) << 13;
  // 2^112 moves the exponent from the half's bias to the float's, and makes subnormals normal.
  std::uint32_t bits = bit_cast<std::uint32_t>(bit_cast<float>(magnitude) * 0x1p112f);
  if (magnitude >= 0x0f800000u) bits |= 0x7f800000u;  // infinities and NaN
  return bit_cast<float>(bits | static_cast<std::uint32_t>(half & 0x8000u) << 16);
}

// Rounds to nearest, ties to even.
VQAFAST_INLINE std::uint16_t float_to_half(float value) {
  std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits & 0x80000000u) >> 16;
  bits &= 0x7fffffffu;
  std::uint32_t half;
  if (bits >= 0x47800000u) {  // 65536 and above, infinity, NaN
    half = bits > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (bits < 0x38800000u) {  // becomes subnormal: let the adder round at the right bit
    half = bit_cast<std::uint32_t>(bit_cast<float>(bits) + 0.5f) - 0x3f000000u;
  } else {
    const std::uint32_t odd = (bits >> 13) & 1u;
    half = (bits - 0x38000000u + 0xfffu + odd) >> 13;
  }
  return static_cast<std::uint16_t>(half | sign);
}

VQAFAST_INLINE float bfloat16_to_float(std::uint16_t value) {
  return bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

// Rounds to nearest, ties to even.
VQAFAST_INLINE std::uint16_t float_to_bfloat16(float value) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

VQAFAST_INLINE VFloat load_bfloat16(const std::uint16_t* from) {
  VHalf raw;
  std::memcpy(&raw, from, sizeof(raw));
  return (VFloat)(__builtin_convertvector(raw, VUInt) << 16);
}

VQAFAST_INLINE void store_bfloat16(VFloat v, std::uint16_t* to) {
  const VUInt bits = (VUInt)v;
  VUInt rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const VUInt nan = (VUInt)((bits & 0x7fffffffu) > 0x7f800000u);
  rounded = (rounded & ~nan) | (nan & 0x7fc0u);
  const VHalf raw = __builtin_convertvector(rounded, VHalf);
  std::memcpy(to, &raw, sizeof(raw));
}

VQAFAST_INLINE VFloat load_half(const std::uint16_t* from) {
#if defined(__AVX512F__)
  // The masked form: GCC 12 warns about an uninitialised value inside the plain one.
  return (VFloat)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
  return (VFloat)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  VHalf raw;
  std::memcpy(&raw, from, sizeof(raw));
  const VUInt half = __builtin_convertvector(raw, VUInt);
  const VUInt magnitude = (half & 0x7fffu) << 13;
  VUInt bits = (VUInt)((VFloat)magnitude * 0x1p112f);
  bits |= (VUInt)(magnitude >= 0x0f800000u) & 0x7f800000u;
  return (VFloat)(bits | ((half & 0x8000u) << 16));
#endif
}

VQAFAST_INLINE void store_half(VFloat v, std::uint16_t* to) {
#if defined(__AVX512F__)
  const __m256i half = _mm512_maskz_cvtps_ph(0xffff, (__m512)v, _MM_FROUND_TO_NEAREST_INT);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half);
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  float lanes[kLanes];
  store(v, lanes);
  for (int i = 0; i < kLanes; ++i) to[i] = float_to_half(lanes[i]);
#endif
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
