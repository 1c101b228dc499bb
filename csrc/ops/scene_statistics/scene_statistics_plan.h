// Sizes, and how pictures are cut into bands and workspace into buffers. The same for every instruction set.
#pragma once

#include <cstdint>

#include "ops/scene_statistics/scene_statistics.h"

namespace vqafast {
namespace scene {

constexpr int kScales = 4;
constexpr int kScaleChannels = 13;
constexpr int kDctBands = 10;
constexpr int kDctChannels = 2 * kDctBands;
constexpr int kGrid = 16;
constexpr int kChannels = kScales * kScaleChannels + kDctChannels + kGrid;

constexpr int kReach = 3;                  // of the 7-tap window
constexpr int kCrop = kReach + 1;          // rows and columns at each edge without maps: the window and a neighbour
constexpr int kRing = 8;                   // rows a scale keeps: 7 for the window, 8 for the DCT
constexpr int kScaleRows = 2 * kRing + 6;  // row buffers of a scale
constexpr int kMinSide = 96;               // leaves 4 x 4 pixels of maps at the last scale
constexpr int kBandRows = 64;

// Moments of one channel over one band.
struct Partial {
  double count, mean, squares;  // squares: sum of (x - mean)^2
};

struct Args {
  const char* frames;
  SceneMap map;
  std::int64_t images, height, width;
  std::int64_t stride_n, stride_c, stride_h, stride_w;  // bytes
  std::int64_t bands;                                   // per image; CPU only
  std::int64_t slots;                                   // sets of row buffers, one per thread; CPU only
  Partial* partial;                                     // (N, bands, kChannels); CUDA: (N, CudaPlan::partials)
  float* rows;                                          // (slots, slot_floats(width)); CUDA: (N, level_floats)
  float* out;                                           // (N, 2 kChannels)
};

constexpr std::int64_t band_count(std::int64_t height) { return height / kBandRows; }

// Bands start at multiples of 16 rows, so that none cuts a DCT block, a grid cell or a pixel of the last scale.
constexpr std::int64_t band_begin(std::int64_t height, std::int64_t bands, std::int64_t k) {
  return k == bands ? height : height / kGrid * k / bands * kGrid;
}

// Room to the right of a row for the widest vector to read and write past its end, and 64-byte alignment.
constexpr std::int64_t row_pitch(std::int64_t width) { return (width + 15) / 16 * 16 + 32; }

constexpr std::int64_t slot_floats(std::int64_t width) {
  std::int64_t floats = 2 * row_pitch(width);  // the grid stage's
  for (int s = 0; s < kScales; ++s) floats += kScaleRows * row_pitch(width >> s);
  return floats;
}

}  // namespace scene
}  // namespace vqafast
