// Where frame_ingest's rows go when they are not simply adjacent in the output: channels last, turned or strided.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/frame_ingest/frame_ingest_plan.h"

namespace vqafast {
namespace VQAFAST_ISA {

using ingest::CropPlan;
using ingest::kMaxLanes;
using ingest::kRowsPerTask;

template <typename Out>
VQAFAST_INLINE Out* out_at(const CropPlan& plan, int row, int column, int channel) {
  return reinterpret_cast<Out*>(plan.out + row * plan.out_row + column * plan.out_column + channel * plan.out_channel);
}

// Rows [begin, end) of `tile` to their places. Upright rows go out one by one; turned by a quarter, they go out as runs
// of kRowsPerTask neighbours.
template <typename Out>
VQAFAST_INLINE void write_tile(const CropPlan& plan, int begin, int end, const Out* tile) {
  const std::size_t width = ingest::round_up(plan.width, kMaxLanes);
  const std::ptrdiff_t column = plan.out_column / static_cast<std::ptrdiff_t>(sizeof(Out));
  const std::ptrdiff_t line = plan.out_row / static_cast<std::ptrdiff_t>(sizeof(Out));
  const bool quarter = (line < 0 ? -line : line) < (column < 0 ? -column : column);
  if (!quarter && plan.channels == 3 && plan.out_channel == static_cast<std::ptrdiff_t>(sizeof(Out)) && column == 3) {
    for (int row = begin; row < end; ++row) {
      Out* out = out_at<Out>(plan, row, 0, 0);
      const Out* r = tile + (row - begin) * width;
      const Out* g = r + kRowsPerTask * width;
      const Out* b = g + kRowsPerTask * width;
      for (int x = 0; x < plan.width; ++x) {
        out[3 * x] = r[x];
        out[3 * x + 1] = g[x];
        out[3 * x + 2] = b[x];
      }
    }
    return;
  }
  for (int c = 0; c < plan.channels; ++c) {
    const Out* from = tile + c * kRowsPerTask * width;
    Out* out = out_at<Out>(plan, begin, 0, c);
    if (quarter) {
      for (int x = 0; x < plan.width; ++x, out += column) {
        for (int row = 0; row < end - begin; ++row) out[row * line] = from[row * width + x];
      }
    } else {
      for (int row = 0; row < end - begin; ++row, out += line) {
        for (int x = 0; x < plan.width; ++x) out[x * column] = from[row * width + x];
      }
    }
  }
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
