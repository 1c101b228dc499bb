// What a backend gets, and the maths they share.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

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
  double* partial;      // (N, C, chunks, 2), on CUDA (N, chunks, C, 2): mean and sum of squared deviations of each part
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
VQAFAST_HD constexpr std::int64_t chunk_begin(std::int64_t pixels, std::int64_t chunks, std::int64_t k) {
  return chunks == 1 ? pixels * k : pixels * k / chunks;  // small planes feel a division
}

// How CUDA cuts the planes. A function of the shape and the size of an element, not of strides or of the device: so a
// caller can make the workspace for maps that are yet to come, and a graph replayed elsewhere gives the same bits.
constexpr int kCudaThreads = 256;           // of a block
constexpr std::int64_t kCudaBlocks = 1056;  // fill a large device: 8 on each of 132 multiprocessors
constexpr std::int64_t kCudaMost = 256;     // values that a thread may add up in its own precision
constexpr std::int64_t kCudaLeast = 16;     // and those that make a thread worth starting

// `blocks`: those of one chunk. `rows`: pixels that a block takes at a time.
constexpr std::int64_t cuda_chunks(std::int64_t blocks, std::int64_t pixels, std::int64_t rows) {
  const std::int64_t least = (pixels + rows * kCudaMost - 1) / (rows * kCudaMost), most = pixels / (rows * kCudaLeast);
  const std::int64_t wanted = blocks == 0 || 2 * blocks >= kCudaBlocks ? 1 : (kCudaBlocks + blocks - 1) / blocks;
  const std::int64_t chunks = wanted < most ? wanted : most;
  return chunks < least ? least : chunks;
}

// Channels far apart: a block for a chunk of one plane.
constexpr std::int64_t cuda_plane_chunks(const MomentPoolMaps& x) {
  return cuda_chunks(x.images * x.channels, x.height * x.width, kCudaThreads);
}

// Channels next to each other: a block for a chunk of `lanes` items of `width` channels each; its other threads take
// other pixels.
struct CudaColumns {
  int lanes;  // a power of two, at most a warp's 32
  std::int64_t groups, chunks;
};

constexpr CudaColumns cuda_columns(const MomentPoolMaps& x, int width) {
  const std::int64_t items = (x.channels + width - 1) / width;
  int lanes = 1;
  while (lanes < 32 && lanes < items) lanes *= 2;
  const std::int64_t groups = (items + lanes - 1) / lanes;
  return {lanes, groups, cuda_chunks(x.images * groups, x.height * x.width, kCudaThreads / lanes)};
}

constexpr int cuda_width(DType dtype) { return 16 / item_size(dtype); }  // elements of the widest load

// As many as any kernel that the strides may select.
constexpr std::int64_t cuda_most_chunks(const MomentPoolMaps& x) {
  const std::int64_t planes = cuda_plane_chunks(x), narrow = cuda_columns(x, 1).chunks;
  const std::int64_t wide = cuda_columns(x, cuda_width(x.dtype)).chunks;
  const std::int64_t columns = narrow > wide ? narrow : wide;
  return planes > columns ? planes : columns;
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
  constexpr Real kSmallest = static_cast<Real>(sizeof(Real) == 8 ? DBL_MIN : FLT_MIN);
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
