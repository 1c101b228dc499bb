// From samples to output values: one affine map and two bounds per channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/frame_ingest/frame_ingest_plan.h"
#include "ops/frame_ingest/frame_ingest_simd.h"

namespace vqafast {
namespace VQAFAST_ISA {

using ingest::CropPlan;
using ingest::PlanePlan;

template <typename Sample>
VQAFAST_INLINE const Sample* row_at(const std::uint8_t* base, std::ptrdiff_t row_stride, std::ptrdiff_t row) {
  return reinterpret_cast<const Sample*>(base + row * row_stride);
}

struct Color {
  VFloat c[3][4], low[3], high[3];
};

VQAFAST_INLINE Color load_color(const CropPlan& plan) {
  Color color;
  for (int channel = 0; channel < plan.channels; ++channel) {
    for (int i = 0; i < 4; ++i) color.c[channel][i] = splat(plan.color[channel][i]);
    color.low[channel] = splat(plan.low[channel]);
    color.high[channel] = splat(plan.high[channel]);
  }
  return color;
}

// One vector of every channel. R has no term in U and B none in V.
template <int kChannels, bool kChroma, typename Out>
VQAFAST_INLINE void color_pixels(const Color& k, VFloat y, VFloat cb, VFloat cr, Out* const* out, int x) {
  VFloat value[3];
  for (int c = 0; c < kChannels; ++c) value[c] = mul_add(k.c[c][0], y, k.c[c][3]);
  if constexpr (kChroma) {
    value[0] = mul_add(k.c[0][2], cr, value[0]);
    value[1] = mul_add(k.c[1][2], cr, mul_add(k.c[1][1], cb, value[1]));
    value[2] = mul_add(k.c[2][1], cb, value[2]);
  }
  for (int c = 0; c < kChannels; ++c) store(clamp(value[c], k.low[c], k.high[c]), out[c] + x);
}

template <int kChannels, bool kChroma, typename Luma, typename Out>
VQAFAST_INLINE void color_vector(const Color& k, const Luma* y, const float* u, const float* v, Out* const* out,
                                 int x) {
  if constexpr (kChroma) {
    color_pixels<kChannels, true>(k, load(y + x), load(u + x), load(v + x), out, x);
  } else {
    color_pixels<kChannels, false>(k, load(y + x), VFloat{}, VFloat{}, out, x);
  }
}

template <int kChannels, bool kChroma, typename Luma, typename Out>
VQAFAST_INLINE void color_row(const Color& k, const Luma* y, const float* u, const float* v, Out* const* out,
                              int count) {
  if (count < kLanes) {
    // Too short to overlap a full vector: `u` and `v` are padded, `y` and `out` may not be.
    Luma padded_y[kLanes] = {};
    Out padded_out[3][kLanes];
    Out* const into[3] = {padded_out[0], padded_out[1], padded_out[2]};
    for (int x = 0; x < count; ++x) padded_y[x] = y[x];
    color_vector<kChannels, kChroma>(k, padded_y, u, v, into, 0);
    for (int c = 0; c < kChannels; ++c) std::memcpy(out[c], padded_out[c], count * sizeof(Out));
    return;
  }
  int x = 0;
  for (; x + kLanes <= count; x += kLanes) color_vector<kChannels, kChroma>(k, y, u, v, out, x);
  if (x < count) color_vector<kChannels, kChroma>(k, y, u, v, out, count - kLanes);
}

template <typename Luma, typename Out>
VQAFAST_INLINE void color_row(const CropPlan& plan, const Color& k, const Luma* y, const float* u, const float* v,
                              Out* const* out) {
  if (plan.channels == 1) {
    color_row<1, false>(k, y, u, v, out, plan.width);
  } else if (plan.chroma) {
    color_row<3, true>(k, y, u, v, out, plan.width);
  } else {
    color_row<3, false>(k, y, u, v, out, plan.width);
  }
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
