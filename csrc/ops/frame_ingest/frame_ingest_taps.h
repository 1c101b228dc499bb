// Filter taps of one axis: the definition in frame_ingest.h for every backend, and the tables that CPU kernels read.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "ops/frame_ingest/frame_ingest_plan.h"

namespace vqafast::ingest {

// `count` outputs cover `extent` luma samples from luma sample `begin` on; the plane has `limit` samples on this axis.
struct Axis {
  int begin, extent, count;
  int shift;   // log2 of the subsampling
  bool sited;  // true: chroma sited on the first of its luma samples; false: centred among them
  int limit;

  VQAFAST_HD double unit() const { return shift == 0 ? 1.0 : shift == 1 ? 0.5 : 0.25; }  // samples per luma sample
  VQAFAST_HD double step() const { return static_cast<double>(extent) / count; }
  VQAFAST_HD double scale() const { return step() * unit(); }
  VQAFAST_HD double filter() const { return scale() > 1.0 ? scale() : 1.0; }
  VQAFAST_HD double center(int i) const {
    const double luma = begin + (i + 0.5) * step();
    return sited ? (luma - 0.5) * unit() + 0.5 : luma * unit();
  }
  int max_taps() const { return std::min(limit, static_cast<int>(std::ceil(2 * filter()))); }
};

struct Axes {
  Axis x, y;
};

// Of a plane of `rows` x `columns` samples; `width` x `height` outputs cover a box of luma samples. All coded.
VQAFAST_HD inline Axes axes_of(int left, int top, int box_width, int box_height, int width, int height, int shift_x,
                               int shift_y, int rows, int columns) {
  return {{left, box_width, width, shift_x, true, columns}, {top, box_height, height, shift_y, false, rows}};
}

// Takes arrays one after another from one block; with no block it only counts.
class Carver {
 public:
  explicit Carver(void* block) : block_(static_cast<std::uint8_t*>(block)) {}
  template <typename T>
  T* take(std::size_t count) {
    T* here = block_ ? reinterpret_cast<T*>(block_ + used_) : nullptr;
    used_ += round_up(count * sizeof(T), 64);
    return here;
  }
  std::size_t used() const { return used_; }
  bool counting() const { return !block_; }

 private:
  std::uint8_t* block_;
  std::size_t used_ = 0;
};

struct Window {
  int first, taps;
};

VQAFAST_HD inline int bounded(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

// Samples with a weight. The slack keeps rounding from adding a tap of weight 1e-13 at either end.
VQAFAST_HD inline Window window_of(const Axis& axis, double center) {
  constexpr double kSlack = 1e-9;
  const double filter = axis.filter();
  int first = static_cast<int>(std::floor(center - filter - 0.5 + kSlack)) + 1;
  int end = static_cast<int>(std::ceil(center + filter - 0.5 - kSlack));
  first = bounded(first, 0, axis.limit - 1);
  end = bounded(end, first + 1, axis.limit);
  return {first, end - first};
}

// Weight, before division by their sum, of a sample `distance` from the centre; `inverse` is 1 / filter.
template <typename Real>
VQAFAST_HD inline Real triangle(Real distance, Real inverse) {
  const Real weight = 1 - (distance < 0 ? -distance : distance) * inverse;
  return weight > 0 ? weight : 0;
}

// The window of output i at scale 1, where it has one sample or two neighbours: window_of and its weights in whole
// numbers, exact. One sample stands twice, with weights 1 and 0.
struct Pair {
  int near, far;
  float near_weight, far_weight;
};

VQAFAST_HD inline Pair pair_of(const Axis& axis, int i) {
  // Of centre - 1/2 in units of 2^-(shift + 1).
  const int twice = 2 * (axis.begin + i) + (axis.sited ? 0 : 1 - (1 << axis.shift));
  const int near = twice >> (axis.shift + 1), rest = twice - near * (2 << axis.shift);
  if (near < 0) return {0, 0, 1, 0};
  if (rest == 0 || near + 1 >= axis.limit) return {near, near, 1, 0};
  const float far_weight = static_cast<float>(rest) * (axis.shift == 0 ? 0.5f : axis.shift == 1 ? 0.25f : 0.125f);
  return {near, near + 1, 1 - far_weight, far_weight};
}

inline bool permutes(const Axis& axis, Lanes lanes) {
  return std::ceil((lanes.lanes - 1) * axis.scale()) + 2 <= lanes.max_window;
}

// For a plane that is only copied on both axes.
inline Taps identity_taps(const Axis& axis) {
  Taps t{};
  t.layout = Layout::kIdentity;
  t.first = axis.begin;
  t.last = axis.begin + axis.count;
  t.padded = static_cast<int>(round_up(axis.count, kMaxLanes));
  t.taps = 1;
  return t;
}

// `horizontal` chooses among the layouts of a row filter; a vertical one is always (output, tap).
inline Taps make_taps(const Axis& axis, bool horizontal, Lanes lanes, Carver& carver) {
  Taps t{};
  t.padded = static_cast<int>(round_up(axis.count, kMaxLanes));
  t.layout = horizontal && permutes(axis, lanes) ? Layout::kPermute : Layout::kDot;
  const bool tap_major = t.layout == Layout::kPermute;
  t.taps = tap_major || !horizontal ? axis.max_taps() : static_cast<int>(round_up(axis.max_taps(), kDotTaps));
  t.start = carver.take<std::int32_t>(t.padded);
  t.used = carver.take<std::int32_t>(t.padded);
  t.weight = carver.take<float>(static_cast<std::size_t>(t.padded) * t.taps);
  const Window left = window_of(axis, axis.center(0));
  const Window right = window_of(axis, axis.center(axis.count - 1));
  t.first = left.first;
  t.last = right.first + right.taps;
  if (carver.counting()) return t;

  std::fill_n(t.weight, static_cast<std::size_t>(t.padded) * t.taps, 0.0f);
  const std::ptrdiff_t per_tap = tap_major ? t.padded : 1;
  const std::ptrdiff_t per_output = tap_major ? 1 : t.taps;
  const double inverse = 1 / axis.filter();
  // Weights repeat every `period` outputs, `advance` samples further on, where no border cuts the window.
  const std::int64_t outputs = static_cast<std::int64_t>(axis.count) << axis.shift;
  const std::int64_t common = std::gcd(outputs, static_cast<std::int64_t>(axis.extent));
  const std::int64_t period = outputs / common, advance = axis.extent / common;
  bool identity = horizontal;
  int most = 1;
  std::int64_t previous_cut = -1;
  for (int i = 0; i < axis.count; ++i) {
    float* w = t.weight + i * per_output;
    const std::int64_t source = i - period;
    if (source > previous_cut && t.first + t.start[source] + advance + t.used[source] < axis.limit) {
      t.start[i] = static_cast<std::int32_t>(t.start[source] + advance);
      t.used[i] = t.used[source];
      const float* from = t.weight + source * per_output;
      for (int k = 0; k < t.used[i]; ++k) w[k * per_tap] = from[k * per_tap];
    } else {
      const double center = axis.center(i);
      const Window window = window_of(axis, center);
      if (window.first == 0) previous_cut = i;
      double weights_sum = 0;
      const auto weight = [&](int k) { return triangle(window.first + k + 0.5 - center, inverse); };
      for (int k = 0; k < window.taps; ++k) weights_sum += weight(k);
      for (int k = 0; k < window.taps; ++k) {
        w[k * per_tap] = window.taps == 1 ? 1.0f : static_cast<float>(weight(k) / weights_sum);
      }
      t.start[i] = window.first - t.first;
      t.used[i] = window.taps;
    }
    most = std::max(most, static_cast<int>(t.used[i]));
    identity = identity && t.used[i] == 1 && t.start[i] == i;
  }
  for (int i = axis.count; i < t.padded; ++i) {
    t.start[i] = t.start[axis.count - 1];
    t.used[i] = 0;
  }
  if (identity) {
    t.layout = Layout::kIdentity;
  } else if (tap_major) {
    t.taps = most;
    for (int i = 0; i < t.padded; i += lanes.lanes) {
      t.window = std::max(t.window, t.start[i + lanes.lanes - 1] - t.start[i] + 1);
    }
  }
  return t;
}

}  // namespace vqafast::ingest
