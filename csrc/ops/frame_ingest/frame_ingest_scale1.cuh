// Scale 1: luma is copied, chroma interpolated between at most two rows and two columns. A thread makes kPack
// neighbouring columns of a few rows; where chroma is halved horizontally they share its samples.
#pragma once

#include "ops/frame_ingest/frame_ingest_pixels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kCopyPasses = 2;  // rows of a thread
constexpr int kShared = kPack / 2 + 1;

__device__ inline float blend(const ingest::Pair& rows, float near, float far) {
  return fmaf(rows.far_weight, far, rows.near_weight * near);
}

// Rows of one plane; `at` counts samples.
template <typename Sample>
__device__ float blend_at(const SourcePlane& plane, const ingest::Pair& rows, int at) {
  return blend(rows, static_cast<float>(__ldg(row_at<Sample>(plane, rows.near) + at)),
               static_cast<float>(__ldg(row_at<Sample>(plane, rows.far) + at)));
}

// kPack pixels from luma column `odd` of their first sample on. A column on a sample takes it, as one sample with weights
// 1 and 0 does; one between two takes their mean. Past the right border the last sample is repeated: its mean is itself.
__device__ inline void double_columns(bool odd, const float* sample, float* pixel) {
#pragma unroll
  for (int i = 0; i < kPack / 2; ++i) {
    const float mean = fmaf(0.5f, sample[i + 1], 0.5f * sample[i]);
    pixel[2 * i] = odd ? mean : sample[i];
    pixel[2 * i + 1] = odd ? sample[i + 1] : mean;
  }
}

template <typename Sample>
__device__ void halved_chroma(const Batch& batch, int x, const ingest::Pair& rows, float* cb, float* cr) {
  constexpr int kBytes = 2 * sizeof(Sample);
  const bool semi_planar = batch.target.semi_planar;
  const int first = x >> 1, last = batch.u.columns - 1;
  float u[kShared], v[kShared];
  if (semi_planar && aligned(batch.u.data, batch.u.row_stride, kBytes)) {
    const Sample *near = row_at<Sample>(batch.u, rows.near), *far = row_at<Sample>(batch.u, rows.far);
    unsigned near_pair[kShared], far_pair[kShared];
#pragma unroll
    for (int j = 0; j < kShared; ++j) {
      const int at = 2 * min(first + j, last);
      load_words<kBytes>(near + at, near_pair + j);
      load_words<kBytes>(far + at, far_pair + j);
    }
#pragma unroll
    for (int j = 0; j < kShared; ++j) {
      u[j] = blend(rows, sample_of<Sample>(near_pair + j, 0), sample_of<Sample>(far_pair + j, 0));
      v[j] = blend(rows, sample_of<Sample>(near_pair + j, 1), sample_of<Sample>(far_pair + j, 1));
    }
  } else {
#pragma unroll
    for (int j = 0; j < kShared; ++j) {
      const int at = min(first + j, last) * (semi_planar ? 2 : 1);
      u[j] = blend_at<Sample>(batch.u, rows, at);
      v[j] = blend_at<Sample>(batch.v, rows, at);
    }
  }
  double_columns(x & 1, u, cb);
  double_columns(x & 1, v, cr);
}

template <typename Sample>
__device__ void load_luma(const Sample* from, int present, float* y) {
  constexpr int kBytes = kPack * sizeof(Sample);
  if (present == kPack && aligned(from, 0, kBytes)) {
    unsigned words[sizeof(Sample)];
    load_words<kBytes>(from, words);
#pragma unroll
    for (int i = 0; i < kPack; ++i) y[i] = sample_of<Sample>(words, i);
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) y[i] = static_cast<float>(__ldg(from + min(i, present - 1)));
  }
}

// A block makes 2^log2_groups groups of kPack columns, times kCopyPasses rows a thread.
template <typename Sample>
__global__ void __launch_bounds__(kThreads) ingest_scale1(const __grid_constant__ Batch batch, int log2_groups) {
  const Target& t = batch.target;
  const Crop& crop = batch.crops[blockIdx.z];
  const bool down = lanes_go_down(t);
  const int groups = 1 << log2_groups, rows = kThreads >> log2_groups, thread = threadIdx.x;
  const int group = down ? thread / rows : thread & (groups - 1);
  const int top = blockIdx.y * (rows * kCopyPasses) + (down ? thread & (rows - 1) : thread >> log2_groups);
  const int column = (blockIdx.x * groups + group) * kPack, present = min(kPack, t.width - column);
  if (present <= 0) return;
  const int x = crop.x + column;
  const Axes axes = ingest::chroma_axes(batch, crop);

#pragma unroll
  for (int pass = 0; pass < kCopyPasses; ++pass) {
    const int row = top + pass * rows;
    if (row >= t.height) return;
    Pixels p{};
    load_luma(row_at<Sample>(batch.y, crop.y + row) + x, present, p.y);
    if (t.chroma) {
      const ingest::Pair vertical = ingest::pair_of(axes.y, row);
      if (batch.shift_x == 1) {
        halved_chroma<Sample>(batch, x, vertical, p.cb, p.cr);
      } else {
        for (int i = 0; i < present; ++i) {
        }
      }
    }
    write_pixels(t, crop.out + row * t.out_row + column * t.out_column, t.out_column, present, p);
  }
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
