// Scale 1: luma is copied, chroma interpolated between at most two rows and two columns. A thread makes kCopyPack
// neighbouring columns of a few rows; where chroma is halved horizontally they share its samples.
#pragma once

#include "ops/frame_ingest/frame_ingest_pixels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kCopyPack = 8;                // columns of a thread
constexpr int kCopyPasses = 3;              // rows of a thread
constexpr int kShared = kCopyPack / 2 + 1;  // chroma samples of kCopyPack columns, where it is halved

__device__ inline float blend(const ingest::Pair& rows, float near, float far) {
  return fmaf(rows.far_weight, far, rows.near_weight * near);
}

// Rows of one plane; `at` counts samples.
template <typename Sample>
__device__ float blend_at(const SourcePlane& plane, const ingest::Pair& rows, int at) {
  return blend(rows, static_cast<float>(__ldg(row_at<Sample>(plane, rows.near) + at)),
               static_cast<float>(__ldg(row_at<Sample>(plane, rows.far) + at)));
}

template <typename Sample>
__device__ float interpolate(const SourcePlane& plane, int per_pixel, const ingest::Pair& x, const ingest::Pair& y) {
  return fmaf(x.far_weight, blend_at<Sample>(plane, y, x.far * per_pixel),
              x.near_weight * blend_at<Sample>(plane, y, x.near * per_pixel));
}

// kCopyPack pixels from luma column `odd` of their first sample on. A column on a sample takes it, as one sample with
// weights 1 and 0 does; one between two takes their mean. Past the right border the last sample is repeated: its mean
// is itself.
__device__ inline void double_columns(bool odd, const float* sample, float* pixel) {
#pragma unroll
  for (int i = 0; i < kCopyPack / 2; ++i) {
    const float mean = fmaf(0.5f, sample[i + 1], 0.5f * sample[i]);
    pixel[2 * i] = odd ? mean : sample[i];
    pixel[2 * i + 1] = odd ? sample[i + 1] : mean;
  }
}

// pair_of without its cases: at a border both rows are the one there, and weights that add up to 1 give it exactly.
__device__ inline ingest::Pair rows_of(const Axis& axis, int row) {
  const int units = 2 << axis.shift, twice = 2 * (axis.begin + row) + (axis.sited ? 0 : 1 - units / 2);
  const int near = twice >> (axis.shift + 1), rest = twice & (units - 1), last = axis.limit - 1;
  const float far_weight = static_cast<float>(rest) * __uint_as_float((126u - axis.shift) << 23);
  return {min(max(near, 0), last), rest == 0 ? near : min(near + 1, last), 1 - far_weight, far_weight};
}

// `paired`: U and V of a column in one load.
template <typename Sample>
__device__ void halved_chroma(const Batch& batch, bool paired, int x, const ingest::Pair& rows, float* cb, float* cr) {
  constexpr int kBytes = 2 * sizeof(Sample);
  const int first = x >> 1, more = batch.u.columns - 1 - first;
  float u[kShared], v[kShared];
  if (paired) {
    const auto from = [&](int row) {
      return reinterpret_cast<const Sample*>(batch.u.data + pinned(row * batch.u.row_stride + first * kBytes));
    };
    const Sample *near = from(rows.near), *far = from(rows.far);
    unsigned near_pair[kShared], far_pair[kShared];
    if (more >= kShared - 1) {
#pragma unroll
      for (int j = 0; j < kShared; ++j) {
        load_words<kBytes>(near + 2 * j, near_pair + j);
        load_words<kBytes>(far + 2 * j, far_pair + j);
      }
    } else {
#pragma unroll
      for (int j = 0; j < kShared; ++j) {
        load_words<kBytes>(near + 2 * min(j, more), near_pair + j);
        load_words<kBytes>(far + 2 * min(j, more), far_pair + j);
      }
    }
#pragma unroll
    for (int j = 0; j < kShared; ++j) {
      u[j] = blend(rows, sample_of<Sample>(near_pair + j, 0), sample_of<Sample>(far_pair + j, 0));
      v[j] = blend(rows, sample_of<Sample>(near_pair + j, 1), sample_of<Sample>(far_pair + j, 1));
    }
  } else {
    const int per_pixel = batch.target.semi_planar ? 2 : 1;
#pragma unroll
    for (int j = 0; j < kShared; ++j) {
      const int at = (first + min(j, more)) * per_pixel;
      u[j] = blend_at<Sample>(batch.u, rows, at);
      v[j] = blend_at<Sample>(batch.v, rows, at);
    }
  }
  double_columns(x & 1, u, cb);
  double_columns(x & 1, v, cr);
}

template <typename Sample>
__device__ void load_luma(const Sample* from, int present, float* y) {
  constexpr int kBytes = kCopyPack * sizeof(Sample);
  if (present == kCopyPack && aligned(from, 0, kBytes)) {
    unsigned words[kBytes / 4];
    load_words<kBytes>(from, words);
#pragma unroll
    for (int i = 0; i < kCopyPack; ++i) y[i] = sample_of<Sample>(words, i);
  } else {
#pragma unroll
    for (int i = 0; i < kCopyPack; ++i) y[i] = static_cast<float>(__ldg(from + min(i, present - 1)));
  }
}

// A block makes 2^log2_groups groups of kCopyPack columns, times kCopyPasses rows a thread.
template <typename Sample>
__global__ void __launch_bounds__(kThreads, 4) ingest_scale1(const __grid_constant__ Batch batch, int log2_groups) {
  const Target& t = batch.target;
  const Crop& crop = batch.crops[blockIdx.z];
  const bool down = lanes_go_down(t);
  const int groups = 1 << log2_groups, rows = kThreads >> log2_groups, thread = threadIdx.x;
  const int group = down ? thread >> (kLog2Threads - log2_groups) : thread & (groups - 1);
  const int top = blockIdx.y * (rows * kCopyPasses) + (down ? thread & (rows - 1) : thread >> log2_groups);
  const int column = (blockIdx.x * groups + group) * kCopyPack, present = min(kCopyPack, t.width - column);
  if (present <= 0) return;
  const int x = crop.x + column, per_pixel = t.semi_planar ? 2 : 1;
  const Axes axes = ingest::chroma_axes(batch, crop);
  const bool paired = t.semi_planar && aligned(batch.u.data, batch.u.row_stride, 2 * sizeof(Sample));
  const Packing packing = packing_of<kCopyPack>(t, crop.out, t.out_column, t.out_row);

#pragma unroll 1
  for (int pass = 0; pass < kCopyPasses; ++pass) {
    const int row = top + pass * rows;
    if (row >= t.height) return;
    Pixels<kCopyPack> p{};
    load_luma<Sample>(row_at<Sample>(batch.y, crop.y + row) + x, present, p.y);
    if (t.chroma) {
      const ingest::Pair vertical = rows_of(axes.y, row);
      if (batch.shift_x == 1) {
        halved_chroma<Sample>(batch, paired, x, vertical, p.cb, p.cr);
      } else {
#pragma unroll 1
        for (int i = 0; i < present; ++i) {
          const ingest::Pair horizontal = ingest::pair_of(axes.x, column + i);
          const float cb = interpolate<Sample>(batch.u, per_pixel, horizontal, vertical);
          const float cr = interpolate<Sample>(batch.v, per_pixel, horizontal, vertical);
#pragma unroll
          for (int k = 0; k < kCopyPack; ++k) {  // no index that is known at run time only: it would cost local memory
            if (k == i) p.cb[k] = cb, p.cr[k] = cr;
          }
        }
      }
    }
    write_pixels<kCopyPack>(t, packing, crop.out + pinned(row * t.out_row + column * t.out_column), t.out_column,
                            present, p);
  }
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
