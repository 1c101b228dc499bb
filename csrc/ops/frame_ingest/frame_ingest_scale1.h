// Scale 1: luma goes from the plane to the output with nothing in between, and so does planar 4:2:0 as RGB. Every value
// is computed by the operations of the general kernels in their order, so both give the same bits and either may serve.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/frame_ingest/frame_ingest_color.h"
#include "ops/frame_ingest/frame_ingest_plan.h"
#include "ops/frame_ingest/frame_ingest_simd.h"

namespace vqafast {
namespace VQAFAST_ISA {

// Two source rows and their weights: one row of chroma at scale 1. At the top and the bottom of the plane both are the
// same row, and the second weight is 0.
template <typename Sample>
struct RowPair {
  const Sample *near, *far;
};

template <typename Sample>
VQAFAST_INLINE VFloat blend(const RowPair<Sample>& rows, VFloat w0, VFloat w1, int at) {
  return mul_add(w1, load(rows.far + at), w0 * load(rows.near + at));
}

// Chroma of 2 kLanes columns. A column on a sample takes it; one between two takes their mean.
template <typename Sample>
VQAFAST_INLINE void double_columns(const RowPair<Sample>& rows, VFloat w0, VFloat w1, int at, bool between, VFloat* low,
                                   VFloat* high) {
  const VFloat here = blend(rows, w0, w1, at), next = blend(rows, w0, w1, at + 1);
  const VFloat half = splat(0.5f);
  const VFloat mean = mul_add(half, next, half * here);
  interleave(between ? mean : here, between ? next : mean, low, high);
}

// The kLanes + 1 samples from `at` on, the last one of the plane repeated: what a vector may load at its right border.
template <typename Sample>
VQAFAST_INLINE void copy_border(const Sample* row, int at, int limit, Sample* to) {
  for (int i = 0; i <= kLanes; ++i) to[i] = row[at + i < limit ? at + i : limit - 1];
}

template <typename Sample, typename Out>
VQAFAST_INLINE void double_row(const CropPlan& plan, const Color& k, int row, const Sample* y, Out* const* out) {
  constexpr int kStep = 2 * kLanes;
  const ingest::Taps& taps = plan.chroma_u.y;
  const float* weight = taps.weight + static_cast<std::ptrdiff_t>(row) * taps.taps;
  const bool blended = taps.used[row] == 2;
  const VFloat w0 = splat(weight[0]), w1 = splat(blended ? weight[1] : 0.0f);
  const std::ptrdiff_t first = taps.first + taps.start[row];
  const auto pair = [first, blended](const PlanePlan& plane) __attribute__((always_inline)) {
    return RowPair<Sample>{row_at<Sample>(plane.data, plane.row_stride, first),
                           row_at<Sample>(plane.data, plane.row_stride, first + blended)};
  };
  const RowPair<Sample> u = pair(plan.chroma_u), v = pair(plan.chroma_v);
  const int origin = plan.luma.x.first, limit = plan.chroma_columns;
  for (int x = 0; x < plan.width; x += kStep) {
    if (x + kStep > plan.width) x = plan.width - kStep;
    const int at = (origin + x) >> 1;
    const bool between = (origin + x) & 1;
    VFloat cb[2], cr[2];
    if (at + kLanes < limit) {
      double_columns(u, w0, w1, at, between, &cb[0], &cb[1]);
      double_columns(v, w0, w1, at, between, &cr[0], &cr[1]);
    } else {
      Sample border[4][kLanes + 1];
      copy_border(u.near, at, limit, border[0]);
      copy_border(u.far, at, limit, border[1]);
      copy_border(v.near, at, limit, border[2]);
      copy_border(v.far, at, limit, border[3]);
      double_columns(RowPair<Sample>{border[0], border[1]}, w0, w1, 0, between, &cb[0], &cb[1]);
      double_columns(RowPair<Sample>{border[2], border[3]}, w0, w1, 0, between, &cr[0], &cr[1]);
    }
    for (int j = 0; j < 2; ++j) color_pixels<3, true>(k, load(y + x + j * kLanes), cb[j], cr[j], out, x + j * kLanes);
  }
}

VQAFAST_INLINE bool doubles_rows(const CropPlan& plan) { return plan.scale1_420 && plan.width >= 2 * kLanes; }

}  // namespace VQAFAST_ISA
}  // namespace vqafast
