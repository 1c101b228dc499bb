// Temporal hysteresis pooling of frame scores (A2INet supplementary, eqs. 2-4).
// docs: python/vqafast/ops/hysteresis_pool.py
#pragma once

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

struct HysteresisPoolOptions {
  double alpha = 0.5;     // weight of the memory term, 0..1
  std::int64_t beta = 6;  // frames looked at before and after, >= 1
};

// q must pass this before outputs are made from its shape. `op` goes into the message.
void hysteresis_pool_check_q(const char* op, const TensorView& q);

void hysteresis_pool(const Context& context,
                     const TensorView& q,        // (B, T) float32 or float64, any strides
                     const TensorView* lengths,  // (B,) int64 in 1..T, or null: all T
                     const HysteresisPoolOptions& options,
                     const TensorView& pooled,   // (B,), dtype of q, contiguous
                     const TensorView& series);  // (B, T), dtype of q, contiguous; 0 where t >= length

void hysteresis_pool_backward(const Context& context,
                              const TensorView* d_pooled,  // (B,), dtype of q, any strides; null: 0
                              const TensorView* d_series,  // (B, T), dtype of q, any strides; null: 0
                              const TensorView& q, const TensorView* lengths, const HysteresisPoolOptions& options,
                              const TensorView& d_q);  // (B, T), dtype of q, contiguous; 0 where t >= length

}  // namespace vqafast
