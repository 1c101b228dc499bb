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

void hysteresis_pool(const Context& context,
                     const TensorView& q,        // (B, T) float32
                     const TensorView* lengths,  // (B,) int64 in 1..T, or null: all T
                     const HysteresisPoolOptions& options,
                     const TensorView& pooled,   // (B,) float32, contiguous
                     const TensorView& series);  // (B, T) float32, contiguous; 0 where t >= length

// q must pass this before outputs are made from its shape.
void hysteresis_pool_check_q(const TensorView& q);

}  // namespace vqafast
