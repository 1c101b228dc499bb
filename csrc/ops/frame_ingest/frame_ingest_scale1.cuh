// Scale 1: luma is copied, chroma interpolated between at most two rows and two columns. A block makes a square of the
// output; a thread has its pixels' loads in flight together.
#pragma once

#include "ops/frame_ingest/frame_ingest_pixels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kCopySide = 32;
constexpr int kCopyStep = kThreads / kCopySide;
constexpr int kCopyPixels = kCopySide / kCopyStep;  // of a thread

template <typename Sample>
__device__ float interpolate(const SourcePlane& plane, int per_pixel, const ingest::Pair& x, const ingest::Pair& y) {
  const Sample *near = row_at<Sample>(plane, y.near), *far = row_at<Sample>(plane, y.far);
  const auto down = [&](int column) {
    const int i = column * per_pixel;
    return fmaf(y.far_weight, static_cast<float>(__ldg(far + i)), y.near_weight * static_cast<float>(__ldg(near + i)));
  };
  return fmaf(x.far_weight, down(x.far), x.near_weight * down(x.near));
}

template <typename Sample>
__global__ void __launch_bounds__(kThreads) ingest_scale1(const __grid_constant__ Batch batch) {
  const Target& t = batch.target;
  const Crop& crop = batch.crops[blockIdx.y];
  const int across = (t.width + kCopySide - 1) / kCopySide;
  const int tile_row = blockIdx.x / across;
  const int top = tile_row * kCopySide, left = (blockIdx.x - tile_row * across) * kCopySide;
  const bool down = lanes_go_down(t);
  const int lane = threadIdx.x % kCopySide, group = threadIdx.x / kCopySide;
  const Axes chroma = ingest::chroma_axes(batch, crop);
  const int per_pixel = t.semi_planar ? 2 : 1;

  float y[kCopyPixels], cb[kCopyPixels] = {}, cr[kCopyPixels] = {};
#pragma unroll
  for (int k = 0; k < kCopyPixels; ++k) {
    // Pixels past the border read those on it.
    const int step = group + k * kCopyStep;
    const int row = min(top + (down ? lane : step), t.height - 1),
              column = min(left + (down ? step : lane), t.width - 1);
    y[k] = static_cast<float>(__ldg(row_at<Sample>(batch.y, crop.y + row) + crop.x + column));
    if (t.chroma) {
      const ingest::Pair horizontal = ingest::pair_of(chroma.x, column), vertical = ingest::pair_of(chroma.y, row);
      cb[k] = interpolate<Sample>(batch.u, per_pixel, horizontal, vertical);
      cr[k] = interpolate<Sample>(batch.v, per_pixel, horizontal, vertical);
    }
  }
#pragma unroll
  for (int k = 0; k < kCopyPixels; ++k) {
    const int step = group + k * kCopyStep;
    const int row = top + (down ? lane : step), column = left + (down ? step : lane);
    if (row < t.height && column < t.width) write_pixel(t, crop.out, row, column, y[k], cb[k], cr[k]);
  }
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
