// Reading a sample, converting a pixel, writing it: the same operations in the same order for every kernel, layout,
// type and rotation.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "ops/frame_ingest/frame_ingest_batch.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

using ingest::Axes;
using ingest::Axis;
using ingest::Batch;
using ingest::Crop;
using ingest::SourcePlane;
using ingest::Target;

constexpr int kThreads = 256;

template <typename Sample>
__device__ const Sample* row_at(const SourcePlane& plane, int row) {
  return reinterpret_cast<const Sample*>(plane.data + row * plane.row_stride);
}

// Neighbours of a row of output lie closer together than those of a column, unless a quarter turn swapped them. A
// warp's lanes follow the closer ones.
__device__ inline bool lanes_go_down(const Target& t) {
  const std::ptrdiff_t row = t.out_row < 0 ? -t.out_row : t.out_row;
  const std::ptrdiff_t column = t.out_column < 0 ? -t.out_column : t.out_column;
  return row < column;
}

__device__ inline void write_pixel(const Target& t, std::uint8_t* out, int row, int column, float y, float cb,
                                   float cr) {
  out += row * t.out_row + column * t.out_column;
#pragma unroll
  for (int c = 0; c < 3; ++c, out += t.out_channel) {
    if (c >= t.channels) break;
    float value = fmaf(t.color[c][0], y, t.color[c][3]);
    if (t.chroma) {
      if (c != 0) value = fmaf(t.color[c][1], cb, value);  // R has no term in U and B none in V
      if (c != 2) value = fmaf(t.color[c][2], cr, value);
    }
    value = fmaxf(t.low[c], fminf(value, t.high[c]));
    if (t.half) {
      *reinterpret_cast<__half*>(out) = __float2half_rn(value);
    } else {
      *reinterpret_cast<float*>(out) = value;
    }
  }
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
