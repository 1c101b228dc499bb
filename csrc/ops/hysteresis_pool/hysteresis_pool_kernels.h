// The maths of one time step, for every backend.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace vqafast {

struct HysteresisPoolArgs {
  const char* q;  // (B, T)
  std::int64_t q_stride_b, q_stride_t;
  const char* lengths;  // (B,) int64, or null
  std::int64_t lengths_stride;
  float* pooled;  // (B,)
  float* series;  // (B, T)
  std::int64_t batch, time, beta;
  float alpha;
};

namespace VQAFAST_ISA {

VQAFAST_KERNEL_INLINE float score_at(const char* row, std::int64_t stride, std::int64_t t) {
  return *reinterpret_cast<const float*>(row + t * stride);
}

// eq. 3: the worst of the beta scores before t; NaN wins, as it does in torch.min.
VQAFAST_KERNEL_INLINE float memory_score(const char* row, std::int64_t stride, std::int64_t t, std::int64_t beta) {
  if (t == 0) return score_at(row, stride, 0);
  std::int64_t k = t > beta ? t - beta : 0;
  float worst = score_at(row, stride, k);
  for (++k; k < t; ++k) {
    const float q = score_at(row, stride, k);
    if (q < worst || q != q) worst = q;
  }
  return worst;
}

// eq. 4: scores from t to t + beta weighted by softmax(-q), shifted by their minimum so that no weight overflows.
VQAFAST_KERNEL_INLINE float current_score(const char* row, std::int64_t stride, std::int64_t t, std::int64_t length,
                                          std::int64_t beta) {
  const std::int64_t end = t + beta + 1 < length ? t + beta + 1 : length;
  float least = score_at(row, stride, t);
  for (std::int64_t k = t + 1; k < end; ++k) {
    const float q = score_at(row, stride, k);
    if (q < least) least = q;
  }
  float weights = 0, excess = 0;
  for (std::int64_t k = t; k < end; ++k) {
    const float above = score_at(row, stride, k) - least;
    const float weight = expf(-above);
    weights += weight;
    excess += weight * above;
  }
  return least + excess / weights;
}

// eq. 2.
VQAFAST_KERNEL_INLINE float hysteresis_score(const char* row, std::int64_t stride, std::int64_t t, std::int64_t length,
                                             std::int64_t beta, float alpha) {
  return alpha * memory_score(row, stride, t, beta) + (1.0f - alpha) * current_score(row, stride, t, length, beta);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
