// The maths of one time step, forward and backward, for every backend. Real is float or double.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"
#include "core/tensor_view.h"

namespace vqafast {

struct HysteresisPoolArgs {
  DType dtype;    // of every array but lengths
  const char* q;  // (B, T)
  std::int64_t q_stride_b, q_stride_t;
  const char* lengths;  // (B,) int64, or null
  std::int64_t lengths_stride;
  void* pooled;  // (B,)
  void* series;  // (B, T)
  std::int64_t batch, time, beta;
  double alpha;
};

struct HysteresisPoolBackwardArgs {
  HysteresisPoolArgs problem;  // without pooled and series
  const char* d_pooled;        // (B,), or null: 0
  std::int64_t d_pooled_stride;
  const char* d_series;  // (B, T), or null: 0
  std::int64_t d_series_stride_b, d_series_stride_t;
  void* d_q;  // (B, T)
};

namespace VQAFAST_ISA {

VQAFAST_KERNEL_INLINE float exponential(float x) { return expf(x); }
VQAFAST_KERNEL_INLINE double exponential(double x) { return exp(x); }

// Clamped, because lengths on a CUDA device are not checked before.
VQAFAST_KERNEL_INLINE std::int64_t hysteresis_length(const HysteresisPoolArgs& args, std::int64_t b) {
  if (!args.lengths) return args.time;
  const std::int64_t length = *reinterpret_cast<const std::int64_t*>(args.lengths + b * args.lengths_stride);
  return length < 1 ? 1 : length > args.time ? args.time : length;
}

// Samples handed to a thread at a time: waking one costs as much as a few hundred steps.
VQAFAST_KERNEL_INLINE std::int64_t hysteresis_grain(const HysteresisPoolArgs& args) {
  return args.time >= 512 ? 1 : 512 / args.time;
}

// The scores of one sample, anywhere in memory.
template <typename Real>
struct Scores {
  const char* data;
  std::int64_t stride;  // bytes

  VQAFAST_HD Real operator[](std::int64_t t) const { return *reinterpret_cast<const Real*>(data + t * stride); }
};

// eq. 3: where the worst of the beta scores before t stands, the first one of several; at t = 0 the score itself. The
// first NaN wins, as it does in torch.
template <typename Real>
VQAFAST_KERNEL_INLINE std::int64_t memory_index(const Scores<Real>& q, std::int64_t t, std::int64_t beta) {
  std::int64_t at = t > beta ? t - beta : 0;
  Real worst = q[at];
  for (std::int64_t k = at + 1; k < t; ++k) {
    const Real score = q[k];
    if (score < worst || (score != score && worst == worst)) {
      worst = score;
      at = k;
    }
  }
  return at;
}

// eq. 4: scores from t to t + beta weighted by softmax(-q), shifted by their minimum so that no weight overflows.
template <typename Real>
struct Current {
  std::int64_t end;
  Real least, weights, excess;  // excess: the weighted sum of q - least

  VQAFAST_HD Real score() const { return least + excess / weights; }
};

template <typename Real>
VQAFAST_KERNEL_INLINE Current<Real> current_score(const Scores<Real>& q, std::int64_t t, std::int64_t length,
                                                  std::int64_t beta) {
  const std::int64_t end = t + beta + 1 < length ? t + beta + 1 : length;
  Real least = q[t];
  for (std::int64_t k = t + 1; k < end; ++k) {
    const Real score = q[k];
    if (score < least) least = score;
  }
  Real weights = 0, excess = 0;
  for (std::int64_t k = t; k < end; ++k) {
    const Real above = q[k] - least;
    const Real weight = exponential(-above);
    weights += weight;
    excess += weight * above;
  }
  return {end, least, weights, excess};
}

// eq. 2.
template <typename Real>
VQAFAST_KERNEL_INLINE Real hysteresis_score(const Scores<Real>& q, std::int64_t t, std::int64_t length,
                                            std::int64_t beta, Real alpha) {
  return alpha * q[memory_index(q, t, beta)] + (1 - alpha) * current_score(q, t, length, beta).score();
}

// The derivative of eq. 4's mean of weighted scores by the score `above` their least, which counts twice: as a score,
// and in its weight. `mean_above` is the mean less the least.
template <typename Real>
VQAFAST_KERNEL_INLINE Real current_derivative(Real above, Real mean_above, Real weights) {
  return exponential(-above) / weights * (1 - (above - mean_above));
}

// Adds to d_q what `grad`, the gradient of q'_t, gives each score. min gives its gradient to the first minimum.
template <typename Real>
VQAFAST_KERNEL_INLINE void hysteresis_backward(const Scores<Real>& q, std::int64_t t, std::int64_t length,
                                               std::int64_t beta, Real alpha, Real grad, Real* d_q) {
  d_q[memory_index(q, t, beta)] += alpha * grad;
  const Current<Real> current = current_score(q, t, length, beta);
  const Real mean_above = current.excess / current.weights, share = (1 - alpha) * grad;
  for (std::int64_t k = t; k < current.end; ++k)
    d_q[k] += share * current_derivative(q[k] - current.least, mean_above, current.weights);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
