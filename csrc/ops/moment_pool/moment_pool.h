// Spatial mean and standard deviation of feature maps. docs: python/vqafast/ops/moment_pool.py
#pragma once

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

enum class MapLayout { kNchw, kNhwc };

// x must pass this before the outputs are made from its shape.
void moment_pool_check_x(const TensorView& x);

// Doubles of workspace that moment_pool needs for this x.
std::int64_t moment_pool_workspace(const TensorView& x, MapLayout layout);

void moment_pool(const Context& context,
                 const TensorView& x,  // (N, C, H, W) or (N, H, W, C), float32 or float16, any strides
                 MapLayout layout,
                 const TensorView& out,  // (N, 2C) float32, contiguous: means, then standard deviations
                 double* workspace);     // moment_pool_workspace() doubles

}  // namespace vqafast
