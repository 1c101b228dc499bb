// What the rows of one crop need: filter taps, pointers, colour constants. Built once per crop by frame_ingest_run.cc,
// read by the kernels of every instruction set. CUDA kernels need the Target alone: they make their taps themselves.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/host_device.h"

namespace vqafast::ingest {

constexpr int kRowsPerTask = 16;  // rows of the coded-orientation output; also the width of a rotated tile
constexpr int kMaxLanes = 16;     // rows of floats are padded to this
constexpr int kMaxWindow = 64;    // floats that a permuting kernel may load past the start of its window
constexpr int kDotTaps = 8;       // taps are padded to this in Layout::kDot

// How a horizontal filter is laid out for the kernels.
enum class Layout : int {
  kIdentity,  // output i is sample i
  kPermute,   // weight[tap * padded + i]; the windows of `lanes` neighbouring outputs fit in `max_window` floats
  kDot,       // weight[i * taps + tap], taps a multiple of kDotTaps
};

// What the selected kernels can do.
struct Lanes {
  int lanes;
  int max_window;  // 0: no permuting
};

// Taps of one axis of one plane. The arrays are null where output i is sample first + i on both axes. Otherwise
// output i is the sum over t of weight(i, t) * sample[first + start[i] + t].
struct Taps {
  Layout layout;
  int first, last;      // samples [first, last) are read
  int padded;           // outputs, rounded up to kMaxLanes
  int taps;             // weights stored per output
  int window;           // kPermute: floats from the first to the last start of a group of lanes, plus one
  std::int32_t* start;  // (padded)
  std::int32_t* used;   // (padded) taps of output i that are not padding; vertical only
  float* weight;
};

struct PlanePlan {
  const std::uint8_t* data;   // sample (0, 0)
  std::ptrdiff_t row_stride;  // bytes
  Taps x, y;
};

// What a crop becomes, in coded orientation: what every backend needs to turn samples into values and to place them.
struct Target {
  bool wide_samples;  // uint16
  bool semi_planar;
  bool chroma;  // chroma is read
  int channels;
  int height, width;
  bool half;
  std::uint8_t* out;                                // element of row 0, column 0, channel 0
  std::ptrdiff_t out_row, out_column, out_channel;  // bytes
  float color[3][4];                                // channel = clamp(c0 Y + c1 U + c2 V + c3, low, high)
  float low[3], high[3];
};

struct CropPlan : Target {
  PlanePlan luma, chroma_u, chroma_v;  // chroma_v shares chroma_u's taps; semi-planar: chroma_u.data holds pairs
  bool scale1_420;                     // scale 1 of planar 4:2:0 to RGB
  int chroma_columns;                  // of the plane
};

// One thread's row buffers, in floats. All start on 64 bytes.
struct ScratchLayout {
  std::size_t luma, pair, u, v;     // vertically filtered source rows
  std::size_t y_out, u_out, v_out;  // horizontally filtered rows
  std::size_t tile;                 // (channels, kRowsPerTask, padded width) of the output's type
  std::size_t floats;
};

VQAFAST_INLINE constexpr std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

VQAFAST_INLINE std::size_t source_row_floats(const Taps& x, int samples_per_pixel) {
  return round_up(static_cast<std::size_t>(x.last - x.first) * samples_per_pixel + x.taps + kMaxWindow, kMaxLanes);
}

VQAFAST_INLINE ScratchLayout scratch_layout(const CropPlan& plan) {
  ScratchLayout s{};
  std::size_t at = 0;
  const auto take = [&at](std::size_t floats) {
    const std::size_t here = at;
    at += round_up(floats, kMaxLanes);
    return here;
  };
  const std::size_t width = round_up(plan.width, kMaxLanes);
  s.luma = take(source_row_floats(plan.luma.x, 1));
  s.y_out = take(width);
  if (plan.chroma) {
    if (plan.semi_planar) s.pair = take(source_row_floats(plan.chroma_u.x, 2));
    s.u = take(source_row_floats(plan.chroma_u.x, 1));
    s.v = take(source_row_floats(plan.chroma_u.x, 1));
    s.u_out = take(width);
    s.v_out = take(width);
  }
  s.tile = take(width * kRowsPerTask * plan.channels);
  s.floats = at;
  return s;
}

}  // namespace vqafast::ingest
