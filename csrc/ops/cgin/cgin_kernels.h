// What a backend gets, and the maths of one value.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace vqafast {

struct CginTensor {
  const char* data;                           // null: not given
  std::int64_t stride_b, stride_t, stride_d;  // bytes
};

// One direction: `features` normalised and modulated. In adain the guide's own statistics modulate.
struct CginBranch {
  CginTensor features, gamma, theta;
};

struct CginArgs {
  CginBranch branch[2];  // x guided by y, y guided by x
  const char* lengths;   // (B,) int64, or null
  std::int64_t lengths_stride;
  float* out;  // (B, T, 2D)
  std::int64_t batch, time, width;
  float gamma_1;  // eq. 3: 1 in cgin, 0 in fgin
  bool adain;
  double eps;
};

namespace VQAFAST_ISA {

VQAFAST_KERNEL_INLINE std::int64_t cgin_length(const CginArgs& args, std::int64_t b) {
  if (!args.lengths) return args.time;
  return *reinterpret_cast<const std::int64_t*>(args.lengths + b * args.lengths_stride);
}

// (x - mean) / sigma. The mean comes in two parts, so that a large offset costs no precision and x == mean gives 0.
// V is float or a vector of them.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_normalise(V x, V mean, V mean_rest, V inverse_sigma) {
  return ((x - mean) - mean_rest) * inverse_sigma;
}

// eq. 3; with gamma_1 = 0 eq. 2, and with gamma, theta = sigma, mean of the guide eq. 1.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_modulate(V normalised, V gamma, V theta, float gamma_1) {
  return normalised * (gamma + gamma_1) + theta;
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
