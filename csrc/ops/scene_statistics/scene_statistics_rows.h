// Rows of maps straight into sums, a vector of columns at a time.
#pragma once

#include "ops/scene_statistics/scene_statistics_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

// Sums of a channel by vector lane, of its values less `shift` and of their squares.
struct ChannelSums {
  float shift = 0;
  double first[kLanes] = {}, second[kLanes] = {};

  Partial moments(double count) const {
    double s1 = 0, s2 = 0;
    for (int i = 0; i < kLanes; ++i) s1 += first[i], s2 += second[i];
    if (count == 0) return {0, 0, 0};
    return {count, static_cast<double>(shift) + s1 / count, s2 - s1 * s1 / count};
  }
};

VQAFAST_INLINE void fold(VFloat v, double* sums) {
  float lanes[kLanes];
  store(v, lanes);
  for (int i = 0; i < kLanes; ++i) sums[i] += static_cast<double>(lanes[i]);
}

// Adds one row: maps(x, v) puts the kCount channels at columns x, x + 1, ... into v. Sums are floats within the row.
template <int kCount, typename Maps>
VQAFAST_INLINE void add_row(std::int64_t count, ChannelSums* channels, const Maps& maps) {
  VFloat shift[kCount], first[kCount] = {}, second[kCount] = {}, v[kCount];
  for (int k = 0; k < kCount; ++k) shift[k] = splat(channels[k].shift);
  std::int64_t x = 0;
  for (; x + kLanes <= count; x += kLanes) {
    maps(x, v);
    for (int k = 0; k < kCount; ++k) {
      const VFloat d = v[k] - shift[k];
      first[k] += d;
      second[k] += d * d;
    }
  }
  if (x < count) {
    const VInt lanes = first_lanes(count - x);
    maps(x, v);
    for (int k = 0; k < kCount; ++k) {
      const VFloat d = keep(v[k] - shift[k], lanes);
      first[k] += d;
      second[k] += d * d;
    }
  }
  for (int k = 0; k < kCount; ++k) {
    fold(first[k], channels[k].first);
    fold(second[k], channels[k].second);
  }
}

// Adds the first row of a band twice: to find shifts near the means, so that squares do not cancel, and to add it.
template <int kCount, typename Maps>
VQAFAST_INLINE void add_rows(bool is_first, std::int64_t count, ChannelSums* channels, const Maps& maps) {
  if (is_first) {
    add_row<kCount>(count, channels, maps);
    for (int k = 0; k < kCount; ++k) {
      const double mean = channels[k].moments(static_cast<double>(count)).mean;
      channels[k] = ChannelSums{};
      channels[k].shift = static_cast<float>(mean);
    }
  }
  add_row<kCount>(count, channels, maps);
}

// One scale of a band. Rows of it come from above and go into the rings.
struct Scale {
  std::int64_t height, width, pitch;
  std::int64_t begin, end;  // rows of the picture whose maps this band adds up
  float *x, *change;        // kRing rows each: I and D
  float *mean, *variance;   // one row each: the window's columns
  float *mscn, *deviation;  // two rows each
  ChannelSums sums[kScaleChannels];

  float* x_row(std::int64_t y) const { return x + (y % kRing) * pitch; }
  float* change_row(std::int64_t y) const { return change + (y % kRing) * pitch; }
  float* mscn_row(std::int64_t y) const { return mscn + (y % 2) * pitch; }
  float* deviation_row(std::int64_t y) const { return deviation + (y % 2) * pitch; }
};

// M and s of row y; column i of them is column i + kReach of the picture.
VQAFAST_INLINE void transform_row(const Scale& s, std::int64_t y) {
  const float *a3 = s.x_row(y - 3), *a2 = s.x_row(y - 2), *a1 = s.x_row(y - 1), *centre = s.x_row(y),
              *b1 = s.x_row(y + 1), *b2 = s.x_row(y + 2), *b3 = s.x_row(y + 3);
  for (std::int64_t i = 0; i < s.width; i += kLanes) {
    const VFloat c = load(centre + i);
    const Window<VFloat> column =
        window_of(load(a3 + i), load(a2 + i), load(a1 + i), c, load(b1 + i), load(b2 + i), load(b3 + i));
    store(c + column.mean, s.mean + i);
    store(column.variance, s.variance + i);
  }
  float *mscn = s.mscn_row(y), *deviation = s.deviation_row(y);
  for (std::int64_t i = 0; i < s.width - 2 * kReach; i += kLanes) {
    const float *m = s.mean + i, *v = s.variance + i;
    const VFloat middle = load(m + 3);
    const Window<VFloat> row =
        window_of(load(m), load(m + 1), load(m + 2), middle, load(m + 4), load(m + 5), load(m + 6));
    const VFloat within =
        window_mean(load(v), load(v + 1), load(v + 2), load(v + 3), load(v + 4), load(v + 5), load(v + 6));
    const VFloat dev = deviation_of(within + row.variance);
    store(dev, deviation + i);
    store((load(centre + i + kReach) - middle - row.mean) / (dev + 1.0f), mscn + i);
  }
}

// Adds the maps of row y, once M of rows y and y + 1 are there.
VQAFAST_INLINE void add_scale_row(Scale& s, std::int64_t y) {
  const std::int64_t count = s.width - 2 * kCrop;
  const bool is_first = y == s.begin;
  const float *here = s.mscn_row(y) + 1, *next = s.mscn_row(y + 1) + 1, *deviation = s.deviation_row(y) + 1;
  const float *x = s.x_row(y) + kCrop, *below = s.x_row(y + 1) + kCrop, *change = s.change_row(y) + kCrop;
  ChannelSums* sums = s.sums;
  add_rows<kMscnChannels>(is_first, count, sums, [=](std::int64_t i, VFloat* v) __attribute__((always_inline)) {
    mscn_maps(load(here + i), load(here + i + 1), load(next + i), load(next + i + 1), load(next + i - 1), v);
  });
  sums += kMscnChannels;
  add_rows<kContrastChannels>(is_first, count, sums, [=](std::int64_t i, VFloat* v) __attribute__((always_inline)) {
    contrast_maps(load(deviation + i), v);
  });
  sums += kContrastChannels;
  add_rows<kMotionChannels>(is_first, count, sums, [=](std::int64_t i, VFloat* v) __attribute__((always_inline)) {
    motion_maps(load(x + i), load(x + i + 1), load(below + i), load(change + i), v);
  });
}

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
