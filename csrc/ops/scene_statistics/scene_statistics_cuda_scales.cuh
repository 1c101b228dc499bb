// The kernel of the scales' stages: one block makes one tile of the maps of one level in shared memory, and adds them
// up.
#pragma once

#include "ops/scene_statistics/scene_statistics_cuda_tiles.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

constexpr int kMapThreads = 256, kMapWarps = kMapThreads / kWarp;
static_assert(kMapTile == kWarp, "one column of a tile for each lane");

// M and s are needed one row further down and one column further to each side than the maps; I three more.
constexpr int kCoreRows = kMapTile + 1, kCoreColumns = kMapTile + 2;
constexpr int kLumaRows = kCoreRows + 2 * kReach, kLumaColumns = kCoreColumns + 2 * kReach;

struct MapTile {
  float luma[kLumaRows][kLumaColumns];  // from row -kReach and column -kCrop of the tile on
  float mean[kCoreRows][kLumaColumns], variance[kCoreRows][kLumaColumns];   // the window's columns
  float mscn[kCoreRows][kCoreColumns], deviation[kCoreRows][kCoreColumns];  // from column -1 on
  float means[kScaleChannels][kMapWarps], squares[kScaleChannels][kMapWarps];
};

// How two lanes' moments become one's, at each step of the reduction: the same for all channels.
struct LaneShares {
  static constexpr int kSteps = 5;
  float share[kSteps], weight[kSteps];

  __device__ explicit LaneShares(float count) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const float other = __shfl_down_sync(kAllLanes, count, kWarp / 2 >> step);
      share[step] = other > 0 ? other / (count + other) : 0.0f;
      weight[step] = count * share[step];
      count += other;
    }
  }
};

// Adds rows warp, warp + kMapWarps, ... of a tile, `rows` of them: maps(y, v) puts the kCount channels at row y of the
// lane's column into v. A thread's sums are taken from its first value, lanes are joined as Chan, Golub and LeVeque
// (1979) do: nothing cancels, and flat maps have no deviation at all.
template <int kCount, typename Maps>
__device__ __forceinline__ void add_maps(int rows, bool counts, const LaneShares& shares, float (*means)[kMapWarps],
                                         float (*squares)[kMapWarps], const Maps& maps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  float shift[kCount] = {}, first[kCount] = {}, second[kCount] = {}, v[kCount];
  if (counts && rows > 0) maps(warp, shift);
  for (int k = 1; k < rows; ++k) {
    if (!counts) break;
    maps(warp + k * kMapWarps, v);
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const float d = v[c] - shift[c];
      first[c] += d;
      second[c] += d * d;
    }
  }
  const float inverse = rows > 0 ? 1.0f / static_cast<float>(rows) : 0.0f;
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    const float rest = first[c] * inverse;
    float mean = shift[c] + rest, square = second[c] - first[c] * rest;
#pragma unroll
    for (int step = 0; step < LaneShares::kSteps; ++step) {
      const int offset = kWarp / 2 >> step;
      const float delta = __shfl_down_sync(kAllLanes, mean, offset) - mean;
      const float other = __shfl_down_sync(kAllLanes, square, offset);
      mean += delta * shares.share[step];
      square += other + delta * delta * shares.weight[step];
    }
    if (lane == 0) means[c][warp] = mean, squares[c][warp] = square;
  }
}

__device__ inline void transform_tile(MapTile& tile) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kCoreRows * kLumaColumns; i += kMapThreads) {
    const int y = i / kLumaColumns, x = i % kLumaColumns;
    const auto at = [&](int k) { return tile.luma[y + k][x]; };
    const float centre = at(kReach);
    const Window<float> column = window_of(at(0), at(1), at(2), centre, at(4), at(5), at(6));
    tile.mean[y][x] = centre + column.mean;
    tile.variance[y][x] = column.variance;
  }
  __syncthreads();
  for (int i = thread; i < kCoreRows * kCoreColumns; i += kMapThreads) {
    const int y = i / kCoreColumns, x = i % kCoreColumns;
    const float *m = tile.mean[y] + x, *v = tile.variance[y] + x;
    const float middle = m[kReach];
    const Window<float> row = window_of(m[0], m[1], m[2], middle, m[4], m[5], m[6]);
    const float within = window_mean(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
    const float deviation = deviation_of(within + row.variance);
    tile.deviation[y][x] = deviation;
    tile.mscn[y][x] = (tile.luma[y + kReach][x + kReach] - middle - row.mean) / (deviation + 1.0f);
  }
  __syncthreads();
}

struct ChannelOrder {
  int channel[kScaleChannels];  // kChannelOf, which is not there on the device
};

__global__ void __launch_bounds__(kMapThreads)
    scales_kernel(const __grid_constant__ Args a, const __grid_constant__ CudaPlan plan,
                  const __grid_constant__ ChannelOrder order) {
  __shared__ MapTile tile;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const std::int64_t image = blockIdx.x / plan.map_tiles;
  int index = static_cast<int>(blockIdx.x % plan.map_tiles), scale = 0;
  while (index >= plan.scales[scale].count) index -= plan.scales[scale++].count;
  const Tiling tiling = plan.scales[scale];
  const Level level = level_of(a, plan, image, scale);
  const int top = kCrop + index / tiling.across * kMapTile, left = kCrop + index % tiling.across * kMapTile;
  const int rows = at_most(level.height - kCrop - top, kMapTile);
  const int columns = at_most(level.width - kCrop - left, kMapTile);

  // A last tile that is not full goes on with the last row and column; no result depends on them.
  for (int i = thread; i < kLumaRows * kLumaColumns; i += kMapThreads) {
    const int y = top - kReach + i / kLumaColumns, x = left - kCrop + i % kLumaColumns;
    tile.luma[i / kLumaColumns][i % kLumaColumns] =
        level.luma(at_most(y, level.height - 1), at_most(x, level.width - 1));
  }
  __syncthreads();
  transform_tile(tile);

  const auto rows_of = [rows](int w) { return (rows - w + kMapWarps - 1) / kMapWarps; };
  const int own_rows = at_least(rows_of(warp), 0);
  const bool counts = lane < columns;
  const LaneShares shares(counts ? static_cast<float>(own_rows) : 0.0f);
  float (*means)[kMapWarps] = tile.means;
  float (*squares)[kMapWarps] = tile.squares;
  add_maps<kMscnChannels>(own_rows, counts, shares, means, squares, [&](int y, float* v) {
    const float *here = tile.mscn[y] + lane + 1, *next = tile.mscn[y + 1] + lane + 1;
    mscn_maps(here[0], here[1], next[0], next[1], next[-1], v);
  });
  means += kMscnChannels, squares += kMscnChannels;
  add_maps<kContrastChannels>(own_rows, counts, shares, means, squares,
                              [&](int y, float* v) { contrast_maps(tile.deviation[y][lane + 1], v); });
  means += kContrastChannels, squares += kContrastChannels;
  add_maps<kMotionChannels>(own_rows, counts, shares, means, squares, [&](int y, float* v) {
    const float *x = tile.luma[y + kReach] + lane + kCrop, *below = tile.luma[y + kReach + 1] + lane + kCrop;
    motion_maps(x[0], x[1], below[0], level.change(top + y, left + lane), v);
  });
  __syncthreads();

  if (thread < kScaleChannels) {
    double total = 0, squared = 0;
    const double count = static_cast<double>(rows * columns);
    const auto weight = [&](int w) { return static_cast<double>(at_least(rows_of(w), 0) * columns); };
    for (int w = 0; w < kMapWarps; ++w) total += weight(w) * static_cast<double>(tile.means[thread][w]);
    const double mean = total / count;
    for (int w = 0; w < kMapWarps; ++w) {
      const double d = static_cast<double>(tile.means[thread][w]) - mean;
      squared += static_cast<double>(tile.squares[thread][w]) + weight(w) * d * d;
    }
    Partial* partial = a.partial + image * plan.partials + tiling.first + index;
    partial[static_cast<std::int64_t>(order.channel[thread]) * tiling.count] = {count, mean, squared};
  }
}

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
