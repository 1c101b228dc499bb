// Spatial mean and standard deviation of feature maps. docs: python/vqafast/ops/moment_pool.py
#pragma once

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

enum class MapLayout { kNchw, kNhwc };

// x must pass this before the outputs are made from its shape. `op` goes into the message.
void moment_pool_check_x(const char* op, const TensorView& x);

// float64 for float64 maps, else float32.
DType moment_pool_result(const TensorView& x);

// Doubles of workspace that moment_pool needs for this x. On CUDA a function of shape, dtype and layout alone.
std::int64_t moment_pool_workspace(const TensorView& x, MapLayout layout);

void moment_pool(const Context& context,
                 const TensorView& x,  // (N, C, H, W) or (N, H, W, C), float16, bfloat16, 32 or 64, any strides
                 MapLayout layout,
                 const TensorView& out,  // (N, 2C) moment_pool_result(), contiguous: means, then standard deviations
                 const TensorView* workspace);  // moment_pool_workspace() float64 or more, contiguous; null if 0

void moment_pool_backward(const Context& context,
                          const TensorView& grad,     // (N, 2C) moment_pool_result(), any strides
                          const TensorView& x,        // as in moment_pool
                          const TensorView& moments,  // (N, 2C) moment_pool_result(), any strides: moment_pool's output
                          MapLayout layout,
                          const TensorView& d_x);  // shape and dtype of x, contiguous

}  // namespace vqafast
