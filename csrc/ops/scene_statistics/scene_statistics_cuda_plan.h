// How the CUDA kernels cut pictures into tiles, and what lies where in their workspace. Follows from shapes alone.
#pragma once

#include <cstddef>

#include "ops/scene_statistics/scene_statistics_plan.h"

namespace vqafast {
namespace scene {

constexpr int kMapTile = 32;  // rows and columns of a tile of a scale's maps
// A tile of the full-size picture: multiples of 16, so that none cuts a DCT block, a grid cell or a pixel of the last
// scale.
constexpr int kPictureRows = 32, kPictureColumns = 64;
constexpr int kPictureChannels = kDctChannels + kGrid;

struct Tiling {
  int across, count;   // tiles in a row of them, and in all
  std::int64_t first;  // where its partials start among those of the image: (channels, count)
};

struct CudaPlan {
  int height, width;
  Tiling scales[kScales], picture;
  int map_tiles;                 // of all scales of an image
  std::int64_t partials;         // of an image
  std::int64_t levels[kScales];  // where I of a level starts among the floats of the image; D follows; 1.. only
  std::int64_t level_floats;     // of an image
};

inline Tiling tiling_of(std::int64_t rows, std::int64_t columns, int tile_rows, int tile_columns, int channels,
                        std::int64_t* partials) {
  Tiling tiling{};
  tiling.across = static_cast<int>((columns + tile_columns - 1) / tile_columns);
  tiling.count = static_cast<int>((rows + tile_rows - 1) / tile_rows) * tiling.across;
  tiling.first = *partials;
  *partials += static_cast<std::int64_t>(channels) * tiling.count;
  return tiling;
}

inline CudaPlan cuda_plan(std::int64_t height, std::int64_t width) {
  CudaPlan plan{};
  plan.height = static_cast<int>(height);
  plan.width = static_cast<int>(width);
  for (int s = 0; s < kScales; ++s) {
    const std::int64_t rows = height >> s, columns = width >> s;
    plan.scales[s] =
        tiling_of(rows - 2 * kCrop, columns - 2 * kCrop, kMapTile, kMapTile, kScaleChannels, &plan.partials);
    plan.map_tiles += plan.scales[s].count;
    plan.levels[s] = plan.level_floats;
    if (s > 0) plan.level_floats += 2 * rows * columns;
  }
  plan.picture = tiling_of(height, width, kPictureRows, kPictureColumns, kPictureChannels, &plan.partials);
  return plan;
}

// A multiple of 64 bytes. The levels follow the partials.
inline std::size_t cuda_partial_bytes(const CudaPlan& plan, std::int64_t images) {
  return (static_cast<std::size_t>(images * plan.partials) * sizeof(Partial) + 63) / 64 * 64;
}

inline std::size_t cuda_level_bytes(const CudaPlan& plan, std::int64_t images) {
  return static_cast<std::size_t>(images * plan.level_floats) * sizeof(float);
}

}  // namespace scene
}  // namespace vqafast
