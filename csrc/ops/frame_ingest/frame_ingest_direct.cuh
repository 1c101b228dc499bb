// Scales so large that a tile's taps do not fit in shared memory. A block makes one pixel: its threads share the rows
// and columns of the window, and a tree of fixed shape adds what they found.
#pragma once

#include "ops/frame_ingest/frame_ingest_pixels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kDirectColumns = 32;
constexpr int kDirectRows = kThreads / kDirectColumns;

struct DirectShared {
  float row_weight[kThreads];
  double sum[kThreads], weights[kThreads];
};

// Weights are not divided by their sum beforehand: the sum is collected beside the samples, and divides the result.
template <typename Sample>
__device__ float filter_pixel(const SourcePlane& plane, int per_pixel, const Axes& axes, int row, int column,
                              DirectShared& shared) {
  const int thread = threadIdx.x;
  const double center_x = axes.x.center(column), center_y = axes.y.center(row);
  const ingest::Window x = ingest::window_of(axes.x, center_x), y = ingest::window_of(axes.y, center_y);
  const double inverse_x = 1 / axes.x.filter(), inverse_y = 1 / axes.y.filter();
  double sum = 0, weights = 0;
  for (int begin = 0; begin < y.taps; begin += kThreads) {
    const int rows = min(kThreads, y.taps - begin);
    __syncthreads();
    shared.row_weight[thread] =
        static_cast<float>(ingest::triangle(y.first + begin + thread + 0.5 - center_y, inverse_y));
    __syncthreads();
    for (int k = thread % kDirectColumns; k < x.taps; k += kDirectColumns) {
      const int at = (x.first + k) * per_pixel;
      float column_sum = 0, column_weights = 0;
#pragma unroll 4
      for (int r = thread / kDirectColumns; r < rows; r += kDirectRows) {
        const float w = shared.row_weight[r];
        const float sample = static_cast<float>(__ldg(row_at<Sample>(plane, y.first + begin + r) + at));
        column_sum = fmaf(w, sample, column_sum);
        column_weights += w;
      }
      const double w = ingest::triangle(x.first + k + 0.5 - center_x, inverse_x);
      sum += w * column_sum;
      weights += w * column_weights;
    }
  }
  shared.sum[thread] = sum;
  shared.weights[thread] = weights;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) {
      shared.sum[thread] += shared.sum[thread + half];
      shared.weights[thread] += shared.weights[thread + half];
    }
  }
  return static_cast<float>(shared.sum[0] / shared.weights[0]);  // right for thread 0, which made it
}

template <typename Sample>
__global__ void __launch_bounds__(kThreads, 4) ingest_direct(const __grid_constant__ Batch batch) {
  __shared__ DirectShared shared;
  const Target& t = batch.target;
  const Crop& crop = batch.crops[blockIdx.z];
  const int row = blockIdx.y, column = blockIdx.x;
  const float y = filter_pixel<Sample>(batch.y, 1, ingest::luma_axes(batch, crop), row, column, shared);
  float cb = 0, cr = 0;
  if (t.chroma) {
    const Axes axes = ingest::chroma_axes(batch, crop);
    const int per_pixel = t.semi_planar ? 2 : 1;
    cb = filter_pixel<Sample>(batch.u, per_pixel, axes, row, column, shared);
    cr = filter_pixel<Sample>(batch.v, per_pixel, axes, row, column, shared);
  }
  if (threadIdx.x == 0) write_pixel(t, crop.out + row * t.out_row + column * t.out_column, y, cb, cr);
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
