// The kernel that reads whole pictures: the levels below them into the workspace, and the DCT and grid stages into
// partials.
#pragma once

#include "ops/scene_statistics/scene_statistics_cuda_tiles.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

constexpr int kPictureThreads = 128, kPictureWarps = kPictureThreads / kWarp;
constexpr int kDctDown = kPictureRows / 8, kDctAcross = kPictureColumns / 8;
constexpr int kCellsDown = kPictureRows / kGrid, kCellsAcross = kPictureColumns / kGrid;
// Each thread halves 4x4 pixels twice.
constexpr int kQuarterRows = kPictureRows / 4, kQuarterColumns = kPictureColumns / 4;
static_assert(kDctDown * kDctAcross == kWarp, "one DCT block for each lane of the first warp");
static_assert(kCellsDown * kCellsAcross * kGrid == kPictureThreads, "one phase of a cell for each thread");
static_assert(kQuarterRows * kQuarterColumns == kPictureThreads, "4x4 pixels for each thread");

struct PictureTile {
  float luma[kPictureRows + 3][kPictureColumns + 3];  // 3: excess_of's reach
  float quarters[2][kQuarterRows][kQuarterColumns];   // I and D two levels down
  float dct[kDctChannels][kDctDown * kDctAcross];
  float grid[kGrid][kCellsDown * kCellsAcross];
};

// The CPU's order of additions, so that both see the same levels.
__device__ inline float halved(float a, float b, float c, float d) { return 0.25f * ((a + b) + (c + d)); }

// The 4x4 pixels at 4 (y, x): 2x2 pixels of level 1, and the pixel of level 2, which is returned. pixel(y, x) is of
// the full-size map.
template <typename Pixel>
__device__ float halve_twice(int y, int x, const StoredLevel& half, float* half_map, const StoredLevel& quarter,
                             float* quarter_map, const Pixel& pixel) {
  float v[2][2] = {};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int down = 2 * y + i, across = 2 * x + j;
      if (down >= half.height || across >= half.width) continue;
      const int top = 2 * down, left = 2 * across;
      v[i][j] = halved(pixel(top, left), pixel(top, left + 1), pixel(top + 1, left), pixel(top + 1, left + 1));
      half_map[static_cast<std::int64_t>(down) * half.width + across] = v[i][j];
    }
  }
  const float mean = halved(v[0][0], v[0][1], v[1][0], v[1][1]);
  if (y < quarter.height && x < quarter.width) quarter_map[static_cast<std::int64_t>(y) * quarter.width + x] = mean;
  return mean;
}

// One thread: rows of excess along them and columns of excess down them, at one phase of one cell.
__device__ inline float phase_of(const PictureTile& tile, int cell, int phase) {
  const int top = cell / kCellsAcross * kGrid, left = cell % kCellsAcross * kGrid;
  float along = 0, down = 0;
  for (int i = 0; i < kGrid; ++i) {
    const float* row = tile.luma[top + i] + left + phase;
    along += excess_of(row[0], row[1], row[2], row[3]);
  }
  for (int i = 0; i < kGrid; ++i) {
    const int y = top + phase, x = left + i;
    down += excess_of(tile.luma[y][x], tile.luma[y + 1][x], tile.luma[y + 2][x], tile.luma[y + 3][x]);
  }
  return (along + down) * (1.0f / kGrid);
}

__global__ void __launch_bounds__(kPictureThreads)
    picture_kernel(const __grid_constant__ Args a, const __grid_constant__ CudaPlan plan) {
  __shared__ PictureTile tile;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  const std::int64_t image = blockIdx.x / plan.picture.count;
  const int index = static_cast<int>(blockIdx.x % plan.picture.count);
  const int tile_y = index / plan.picture.across, tile_x = index % plan.picture.across;
  const int top = tile_y * kPictureRows, left = tile_x * kPictureColumns;
  const Level full = level_of(a, plan, image, 0);

  // What lies outside the picture repeats its last row and column; no result depends on it.
  constexpr int kRows = kPictureRows + 3, kColumns = kPictureColumns + 3;
  for (int i = thread; i < kRows * kColumns; i += kPictureThreads) {
    const int y = i / kColumns, x = i % kColumns;
    tile.luma[y][x] = full.luma(at_most(top + y, plan.height - 1), at_most(left + x, plan.width - 1));
  }
  __syncthreads();

  {
    const StoredLevel half = stored_level(a, plan, image, 1), quarter = stored_level(a, plan, image, 2);
    const int i = thread / kQuarterColumns, j = thread % kQuarterColumns;
    const int y = tile_y * kQuarterRows + i, x = tile_x * kQuarterColumns + j;
    tile.quarters[0][i][j] = halve_twice(y, x, half, half.luma, quarter, quarter.luma,
                                         [&](int py, int px) { return tile.luma[py - top][px - left]; });
    tile.quarters[1][i][j] = halve_twice(y, x, half, half.luma + half.size, quarter, quarter.luma + quarter.size,
                                         [&](int py, int px) { return full.change(py, px); });
  }
  tile.grid[thread % kGrid][thread / kGrid] = phase_of(tile, thread / kGrid, thread % kGrid);
  if (thread < kWarp) {
    const int y = lane / kDctAcross * 8, x = lane % kDctAcross * 8;
    float block[64], maps[kDctChannels];
#pragma unroll
    for (int i = 0; i < 64; ++i) block[i] = tile.luma[y + i / 8][x + i % 8];
    dct_maps(block, maps);
#pragma unroll
    for (int k = 0; k < kDctChannels; ++k) tile.dct[k][lane] = maps[k];
  }
  __syncthreads();

  constexpr int kLastRows = kQuarterRows / 2, kLastColumns = kQuarterColumns / 2;
  if (thread < 2 * kLastRows * kLastColumns) {
    const StoredLevel last = stored_level(a, plan, image, 3);
    const int map = thread / (kLastRows * kLastColumns);
    const int i = thread / kLastColumns % kLastRows, j = thread % kLastColumns;
    const int y = tile_y * kLastRows + i, x = tile_x * kLastColumns + j;
    const float (*from)[kQuarterColumns] = tile.quarters[map];
    if (y < last.height && x < last.width)
      last.luma[map * last.size + static_cast<std::int64_t>(y) * last.width + x] =
          halved(from[2 * i][2 * j], from[2 * i][2 * j + 1], from[2 * i + 1][2 * j], from[2 * i + 1][2 * j + 1]);
  }

  // A warp adds up a channel: only what lies in whole blocks and cells of the picture.
  Partial* partial = a.partial + image * plan.partials + plan.picture.first + index;
  for (int channel = thread / kWarp; channel < kPictureChannels; channel += kPictureWarps) {
    const bool is_dct = channel < kDctChannels;
    const int side = is_dct ? 8 : kGrid, across = is_dct ? kDctAcross : kCellsAcross;
    const int limit_y = is_dct ? plan.height : plan.height - 3, limit_x = is_dct ? plan.width : plan.width - 3;
    const int rows = at_least(at_most(limit_y - top, kPictureRows) / side, 0);
    const int columns = at_least(at_most(limit_x - left, kPictureColumns) / side, 0);
    const bool counts = lane / across < rows && lane % across < columns;
    const float* values = is_dct ? tile.dct[channel] : tile.grid[channel - kDctChannels];
    const double value = counts ? static_cast<double>(values[lane]) : 0.0;
    const double count = static_cast<double>(rows * columns);
    const double mean = count > 0 ? warp_sum(value) / count : 0.0;
    const double deviation = counts ? value - mean : 0.0;
    const double squares = warp_sum(deviation * deviation);
    if (lane == 0) partial[static_cast<std::int64_t>(channel) * plan.picture.count] = {count, mean, squares};
  }
}

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
