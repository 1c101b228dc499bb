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

// x must pass this before outputs are made from its shape. `op` goes into the message.
void cgin_check_x(const char* op, const TensorView& x);

// All (B, T, D) inputs have the dtype of x, float32 or float64, and any strides.
void cgin(const Context& context,
          const TensorView& x,        // (B, T, D)
          const TensorView& y,        // (B, T, D)
          const TensorView* gamma_x,  // (B, T, D), made from y; null in adain
          const TensorView* theta_x,  // (B, T, D), made from y; null in adain
          const TensorView* gamma_y,  // (B, T, D), made from x; null in adain
          const TensorView* theta_y,  // (B, T, D), made from x; null in adain
          const TensorView* lengths,  // (B,) int64 in 1..T, or null: all T
          const CginOptions& options,
          const TensorView& out);  // (B, T, 2D), dtype of x, contiguous; 0 where t >= length

struct CginGradients {          // contiguous, dtype of x; 0 where t >= length
  const TensorView* d_x;        // (B, T, D)
  const TensorView* d_y;        // (B, T, D)
  const TensorView* d_gamma_x;  // (B, T, D); null in adain
  const TensorView* d_gamma_y;  // (B, T, D); null in adain
};

// The gradients of theta_x and theta_y are the halves of `grad` where t < length: nothing to compute.
void cgin_backward(const Context& context,
                   const TensorView& grad,  // (B, T, 2D), of the output; what stands at t >= length is not read
                   const TensorView& x, const TensorView& y, const TensorView* gamma_x, const TensorView* gamma_y,
                   const TensorView* lengths, const CginOptions& options, const CginGradients& out);

}  // namespace vqafast
