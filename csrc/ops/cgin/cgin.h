// Cross-aware guided instance normalisation (A2INet, eqs. 1-4). docs: python/vqafast/ops/cgin.py
#pragma once

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

enum class CginMode { kCgin, kFgin, kAdain };

struct CginOptions {
  CginMode mode = CginMode::kCgin;
  double eps = 1e-5;  // added to the variance
};

// x must pass this before the output is made from its shape.
void cgin_check_x(const TensorView& x);

// All (B, T, D) inputs are float32 with any strides.
void cgin(const Context& context,
          const TensorView& x,        // (B, T, D)
          const TensorView& y,        // (B, T, D)
          const TensorView* gamma_x,  // (B, T, D), made from y; null in adain
          const TensorView* theta_x,  // (B, T, D), made from y; null in adain
          const TensorView* gamma_y,  // (B, T, D), made from x; null in adain
          const TensorView* theta_y,  // (B, T, D), made from x; null in adain
          const TensorView* lengths,  // (B,) int64 in 1..T, or null: all T
          const CginOptions& options,
          const TensorView& out);  // (B, T, 2D) float32, contiguous; 0 where t >= length

}  // namespace vqafast
