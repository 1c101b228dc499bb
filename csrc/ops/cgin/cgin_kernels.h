// What a backend gets, and the maths of one value, forward and backward.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"
#include "core/tensor_view.h"

namespace vqafast {

struct CginTensor {
  const char* data;                           // null: not given
  std::int64_t stride_b, stride_t, stride_d;  // bytes
};

struct CginProblem {
  DType dtype;          // of every tensor but lengths
  const char* lengths;  // (B,) int64, or null
  std::int64_t lengths_stride;
  std::int64_t batch, time, width;
  double gamma_1;  // eq. 3: 1 in cgin, 0 in fgin
  bool adain;
  double eps;
};

// One direction: `features` normalised and modulated. In adain the guide's own statistics modulate.
struct CginBranch {
  CginTensor features, gamma, theta;
};

struct CginArgs {
  CginProblem problem;
  CginBranch branch[2];  // x guided by y, y guided by x
  void* out;             // (B, T, 2D)
};

struct CginBackwardBranch {
  CginTensor features, gamma, grad;  // grad: this direction's half of the output's gradient
  void* d_features;                  // (B, T, D)
  void* d_gamma;                     // (B, T, D); null in adain
};

struct CginBackwardArgs {
  CginProblem problem;
  CginBackwardBranch branch[2];
};

namespace VQAFAST_ISA {

VQAFAST_KERNEL_INLINE std::int64_t cgin_length(const CginProblem& problem, std::int64_t b) {
  if (!problem.lengths) return problem.time;
  return *reinterpret_cast<const std::int64_t*>(problem.lengths + b * problem.lengths_stride);
}

// (x - mean) / sigma. The mean comes in two parts, so that a large offset costs no precision and x == mean gives 0.
// V is a number or a vector of them.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_normalise(V x, V mean, V mean_rest, V inverse_sigma) {
  return ((x - mean) - mean_rest) * inverse_sigma;
}

// eq. 3; with gamma_1 = 0 eq. 2, and with gamma, theta = sigma, mean of the guide eq. 1.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_modulate(V normalised, V gamma, V theta, V gamma_1) {
  return normalised * (gamma + gamma_1) + theta;
}

// The gradient of the normalised value.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_modulate_backward(V grad, V gamma, V gamma_1) {
  return grad * (gamma + gamma_1);
}

// The gradient of x, given that of each normalised value and, over time, its mean and its mean product with the
// normalised values: x moves its own normalised value, and all of them through mean and sigma. Exact with eps in sigma.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_normalise_backward(V grad, V normalised, V mean_grad, V mean_product, V inverse_sigma) {
  return (grad - mean_grad - normalised * mean_product) * inverse_sigma;
}

// What adain adds for y as the guide: theta is its mean over time, gamma its sigma. The arguments are means over time
// of the gradient of x's output, and of its product with normalised x.
template <typename V>
VQAFAST_KERNEL_INLINE V cgin_guide_backward(V normalised, V mean_grad, V mean_product) {
  return mean_grad + normalised * mean_product;
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
