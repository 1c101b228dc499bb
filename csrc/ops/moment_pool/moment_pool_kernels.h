// What a backend gets, and the maths they share.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/moments.h"

namespace vqafast {

struct MomentPoolMaps {
  const char* data;
  DType dtype;
  std::int64_t images, channels, height, width;
  std::int64_t stride_n, stride_c, stride_h, stride_w;  // bytes
};

struct MomentPoolArgs {
  MomentPoolMaps x;
  std::int64_t chunks;  // parts a plane is cut into so that few channels still fill many threads
  double* partial;      // (N, C, chunks, 2): mean and sum of squared deviations of each part
  void* out;            // (N, 2C)
};

struct MomentPoolBackwardArgs {
  MomentPoolMaps x;
  const char *grad, *moments;  // (N, 2C)
  std::int64_t grad_stride_n, grad_stride_c, moments_stride_n, moments_stride_c;
  char* d_x;
  bool channels_last;  // of d_x: (N, H, W, C), else (N, C, H, W)
};

// The part of `pixels` that chunk k of n covers starts here.
constexpr std::int64_t chunk_begin(std::int64_t pixels, std::int64_t chunks, std::int64_t k) {
  return chunks == 1 ? pixels * k : pixels * k / chunks;  // small planes feel a division
}

namespace VQAFAST_ISA {

template <typename Real>
VQAFAST_KERNEL_INLINE void write_moments(const MomentPoolArgs& args, std::int64_t n, std::int64_t c,
                                         const Moments& moments) {
  Real* row = static_cast<Real*>(args.out) + n * 2 * args.x.channels;
  row[c] = static_cast<Real>(moments.mean);
  const double variance = moments.squares / moments.count;
  row[args.x.channels + c] = static_cast<Real>(sqrt(variance > 0 || variance != variance ? variance : 0));
}

// The gradient of x is base + (x - mean) * inverse_sigma * share.
template <typename Real>
struct MomentSlope {
  Real mean, inverse_sigma, base, share;
};

// At sigma = 0 the deviation's derivative does not exist; 0 stands for it, and for sigma below the smallest normal
// number, whose inverse is not finite.
template <typename Real>
VQAFAST_KERNEL_INLINE MomentSlope<Real> moment_slope(const MomentPoolBackwardArgs& args, std::int64_t n,
                                                     std::int64_t c) {
  const auto at = [&](const char* from, std::int64_t stride_n, std::int64_t stride_c, std::int64_t column) {
    return *reinterpret_cast<const Real*>(from + n * stride_n + column * stride_c);
  };
  const std::int64_t deviations = args.x.channels + c;
  const Real pixels = static_cast<Real>(args.x.height * args.x.width);
  constexpr Real kSmallest = std::numeric_limits<Real>::min();
  const Real sigma = at(args.moments, args.moments_stride_n, args.moments_stride_c, deviations);
  return {at(args.moments, args.moments_stride_n, args.moments_stride_c, c), sigma < kSmallest ? 0 : 1 / sigma,
          at(args.grad, args.grad_stride_n, args.grad_stride_c, c) / pixels,
          at(args.grad, args.grad_stride_n, args.grad_stride_c, deviations) / pixels};
}

// V is a number or a vector of them.
template <typename V>
VQAFAST_KERNEL_INLINE V moment_gradient(V x, V mean, V inverse_sigma, V base, V share) {
  return base + (x - mean) * inverse_sigma * share;
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
