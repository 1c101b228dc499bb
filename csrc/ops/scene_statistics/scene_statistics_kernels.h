// The formulas of scene_statistics.h at one pixel, block or window, for V = float or a vector of neighbours.
#pragma once

#include <cmath>

#include "core/host_device.h"
#include "ops/scene_statistics/scene_statistics_plan.h"
#ifndef __CUDACC__
#include "ops/scene_statistics/scene_statistics_simd.h"
#endif

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

using namespace vqafast::scene;

VQAFAST_KERNEL_INLINE float root(float v) { return sqrtf(v); }
VQAFAST_KERNEL_INLINE float magnitude(float v) { return fabsf(v); }
VQAFAST_KERNEL_INLINE float nonnegative(float v) { return v < 0.0f ? 0.0f : v; }

// The maps of scene_statistics.h at one pixel, without their constant, from neighbours of Y.
VQAFAST_KERNEL_INLINE float gradient_at(float here, float right, float below) {
  const float across = right - here, down = below - here;
  return root(across * across + down * down);
}
VQAFAST_KERNEL_INLINE float detail_at(float here, float left, float right, float above, float below) {
  return here - 0.25f * ((left + right) + (above + below));
}

// exp(-(k / (7/6))^2 / 2), normalised to a sum of 1 over k = -3..3.
constexpr float kGauss0 = 0.3426315154652495f, kGauss1 = 0.23729607711717063f, kGauss2 = 0.07882796468173002f,
                kGauss3 = 0.012560200468474616f;

template <typename V>
struct Window {
  V mean, variance;  // mean: minus that of the centre
};

// Weighted mean and variance of seven values. Taken from the centre, so that neither a bright flat region nor weights
// that do not quite sum to 1 leave a variance where there is none.
template <typename V>
VQAFAST_KERNEL_INLINE Window<V> window_of(V a3, V a2, V a1, V centre, V b1, V b2, V b3) {
  a1 -= centre, a2 -= centre, a3 -= centre;
  b1 -= centre, b2 -= centre, b3 -= centre;
  const V mean = kGauss1 * (a1 + b1) + kGauss2 * (a2 + b2) + kGauss3 * (a3 + b3);
  const V square = kGauss1 * (a1 * a1 + b1 * b1) + kGauss2 * (a2 * a2 + b2 * b2) + kGauss3 * (a3 * a3 + b3 * b3);
  return {mean, square - mean * mean};
}

template <typename V>
VQAFAST_KERNEL_INLINE V window_mean(V a3, V a2, V a1, V centre, V b1, V b2, V b3) {
  return kGauss0 * centre + kGauss1 * (a1 + b1) + kGauss2 * (a2 + b2) + kGauss3 * (a3 + b3);
}

template <typename V>
VQAFAST_KERNEL_INLINE V deviation_of(V variance) {
  return root(nonnegative(variance) + 1e-3f);
}

template <typename V>
VQAFAST_KERNEL_INLINE V share_below(V x, float level) {
  const V ratio = x * (1.0f / level);
  const V square = ratio * ratio;
  return 1.0f / (1.0f + square * square);
}

// A scale's channels come in three groups, small enough for their sums to stay in registers.
constexpr int kMscnChannels = 5, kContrastChannels = 4, kMotionChannels = 4;
constexpr int kChannelOf[kScaleChannels] = {3, 4, 5, 6, 7, 1, 2, 8, 9, 0, 10, 11, 12};

template <typename V>
VQAFAST_KERNEL_INLINE void mscn_maps(V core, V right, V down, V diagonal, V anti, V* maps) {
  maps[0] = magnitude(core);
  maps[1] = core * core;
  maps[2] = core * right;
  maps[3] = core * down;
  maps[4] = core * (diagonal + anti);
}

template <typename V>
VQAFAST_KERNEL_INLINE void contrast_maps(V deviation, V* maps) {
  maps[0] = deviation;
  maps[1] = root(deviation);
  maps[2] = share_below(deviation, 1.0f);
  maps[3] = share_below(deviation, 3.0f);
}

template <typename V>
VQAFAST_KERNEL_INLINE void motion_maps(V x, V right, V below, V change, V* maps) {
  const V gradient = magnitude(right - x) + magnitude(below - x);
  const V moved = magnitude(change);
  maps[0] = gradient;
  maps[1] = share_below(gradient, 24.0f);
  maps[2] = moved;
  maps[3] = root(moved);
}

// cos(k pi / 16) / 2
constexpr float kCos1 = 0.4903926402016152f, kCos2 = 0.46193976625564337f, kCos3 = 0.4157348061512726f,
                kCos4 = 0.3535533905932738f, kCos5 = 0.27778511650980114f, kCos6 = 0.19134171618254492f,
                kCos7 = 0.09754516100806417f;

// Orthonormal DCT of the eight values x[0], x[step], ..., in place.
template <int step, typename V>
VQAFAST_KERNEL_INLINE void dct8(V* x) {
  const V s0 = x[0] + x[7 * step], s1 = x[step] + x[6 * step], s2 = x[2 * step] + x[5 * step],
          s3 = x[3 * step] + x[4 * step];
  const V d0 = x[0] - x[7 * step], d1 = x[step] - x[6 * step], d2 = x[2 * step] - x[5 * step],
          d3 = x[3 * step] - x[4 * step];
  const V e0 = s0 + s3, e1 = s1 + s2, e2 = s0 - s3, e3 = s1 - s2;
  x[0] = kCos4 * (e0 + e1);
  x[step] = kCos1 * d0 + kCos3 * d1 + kCos5 * d2 + kCos7 * d3;
  x[2 * step] = kCos2 * e2 + kCos6 * e3;
  x[3 * step] = kCos3 * d0 - kCos7 * d1 - kCos1 * d2 - kCos5 * d3;
  x[4 * step] = kCos4 * (e0 - e1);
  x[5 * step] = kCos5 * d0 - kCos1 * d1 + kCos7 * d2 + kCos3 * d3;
  x[6 * step] = kCos6 * e2 - kCos2 * e3;
  x[7 * step] = kCos7 * d0 - kCos5 * d1 + kCos3 * d2 - kCos1 * d3;
}

// The kDctChannels values of the 8x8 block x, which is overwritten.
template <typename V>
VQAFAST_KERNEL_INLINE void dct_maps(V* x, V* maps) {
  for (int row = 0; row < 8; ++row) dct8<1>(x + 8 * row);
  for (int column = 0; column < 8; ++column) dct8<8>(x + column);
  for (int ring = 1; ring <= kDctBands; ++ring) {
    const int last = ring < kDctBands ? ring : 14;
    V total{}, zero{};
    int members = 0;
    for (int sum = ring; sum <= last; ++sum) {
      for (int u = sum > 7 ? sum - 7 : 0; u <= 7 && u <= sum; ++u, ++members) {
        const V c = x[8 * u + sum - u];
        total += magnitude(c);
        zero += share_below(c, 1.5f);
      }
    }
    maps[ring - 1] = total / static_cast<float>(members);
    maps[kDctBands + ring - 1] = zero / static_cast<float>(members);
  }
}

// How far the step from b to c stands out from the slopes beside it.
template <typename V>
VQAFAST_KERNEL_INLINE V excess_of(V a, V b, V c, V d) {
  return magnitude(c - b) - 0.5f * (magnitude(b - a) + magnitude(d - c));
}

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
