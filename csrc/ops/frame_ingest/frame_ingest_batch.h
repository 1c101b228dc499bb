// What one launch gets, by value: nothing that a kernel reads lies in memory but samples, so a launch may be captured.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/frame_ingest/frame_ingest_plan.h"
#include "ops/frame_ingest/frame_ingest_run.h"
#include "ops/frame_ingest/frame_ingest_taps.h"

namespace vqafast::ingest {

struct SourcePlane {
  const std::uint8_t* data;   // sample (0, 0)
  std::ptrdiff_t row_stride;  // bytes
  int rows, columns;
};

constexpr int kCropsPerLaunch = 64;

struct Batch {
  Target target;        // `out` is each crop's own
  SourcePlane y, u, v;  // semi-planar: u.data holds pairs, v.data is u.data one sample on
  int shift_x, shift_y;
  Crop crops[kCropsPerLaunch];  // coded
};
static_assert(sizeof(Batch) <= 4000, "kernels take at most 4 KiB of parameters");

VQAFAST_HD inline Axes luma_axes(const Batch& b, const Crop& crop) {
  return axes_of(crop.x, crop.y, crop.width, crop.height, b.target.width, b.target.height, 0, 0, b.y.rows, b.y.columns);
}

VQAFAST_HD inline Axes chroma_axes(const Batch& b, const Crop& crop) {
  return axes_of(crop.x, crop.y, crop.width, crop.height, b.target.width, b.target.height, b.shift_x, b.shift_y,
                 b.u.rows, b.u.columns);
}

}  // namespace vqafast::ingest
