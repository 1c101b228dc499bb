// The DCT and grid stages: blocks of rows of the full-size picture into sums.
#pragma once

#include "ops/scene_statistics/scene_statistics_rows.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

// DCT blocks wait here, one per vector lane, until there is a vector of them.
struct DctQueue {
  float block[64 * kLanes];  // (8, 8, lanes)
  std::int64_t waiting = 0, done = 0;
  ChannelSums sums[kDctChannels];

  void flush() {
    if (waiting == 0) return;
    VFloat x[64], v[kDctChannels];
    for (int i = 0; i < 64; ++i) x[i] = load(block + i * kLanes);
    dct_maps(x, v);
    const VInt lanes = first_lanes(waiting);
    for (int k = 0; k < kDctChannels; ++k) {
      float value[kLanes];
      store(keep(v[k], lanes), value);
      for (int i = 0; i < kLanes; ++i) {
        const double d = static_cast<double>(value[i]);
        sums[k].first[i] += d;
        sums[k].second[i] += d * d;
      }
    }
    done += waiting;
    waiting = 0;
  }

  // Eight rows, `pitch` floats apart.
  void add(const float* rows, std::int64_t pitch, std::int64_t width) {
    for (std::int64_t at = 0; at + 8 <= width; at += 8) {
      for (int y = 0; y < 8; ++y)
        for (int x = 0; x < 8; ++x) block[(8 * y + x) * kLanes + waiting] = rows[y * pitch + at + x];
      if (++waiting == kLanes) flush();
    }
  }
};

// One row of grid cells at a time.
struct GridCells {
  std::int64_t columns = 0;  // pixels of whole cells
  float* down = nullptr;     // (columns): excess along rows, summed over the cell's rows so far
  float* across = nullptr;   // (cells, 16): excess down columns at each row of the cell, summed over its columns
  std::int64_t done = 0;
  double first[kGrid] = {}, second[kGrid] = {};

  // Row y of the picture, and the three below it.
  void add(std::int64_t y, const float* r0, const float* r1, const float* r2, const float* r3) {
    const std::int64_t phase = y % kGrid;
    for (std::int64_t x = 0; x < columns; x += kGrid) {
      VFloat total{};
      for (int i = 0; i < kGrid; i += kLanes) {
        const std::int64_t at = x + i;
        const VFloat along = excess_of(load(r0 + at), load(r0 + at + 1), load(r0 + at + 2), load(r0 + at + 3));
        store(phase ? load(down + at) + along : along, down + at);
        total += excess_of(load(r0 + at), load(r1 + at), load(r2 + at), load(r3 + at));
      }
      across[x + phase] = sum(total);
    }
    if (phase == kGrid - 1) finish();
  }

  void finish() {
    for (std::int64_t x = 0; x < columns; x += kGrid) {
      for (int p = 0; p < kGrid; ++p) {
        const double v = static_cast<double>((down[x + p] + across[x + p]) * (1.0f / kGrid));
        first[p] += v;
        second[p] += v * v;
      }
    }
    done += columns / kGrid;
  }

  Partial moments(int p) const {
    if (done == 0) return {0, 0, 0};
    const double count = static_cast<double>(done);
    return {count, first[p] / count, second[p] - first[p] * first[p] / count};
  }
};

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
