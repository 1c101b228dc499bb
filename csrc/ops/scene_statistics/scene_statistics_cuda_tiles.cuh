// What the CUDA kernels share: pixels of a level, and sums over a warp.
#pragma once

#include "ops/scene_statistics/scene_statistics_cuda_plan.h"
#include "ops/scene_statistics/scene_statistics_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline int at_least(int a, int b) { return a < b ? b : a; }
__device__ inline int at_most(int a, int b) { return a < b ? a : b; }

// I and D of one image: at level 0 the map of the frames, else as the picture kernel left them in the workspace.
struct Level {
  const char *first, *second;       // level 0: the picture and the one after it; else I and D
  std::int64_t stride_h, stride_w;  // bytes
  int height, width;
  bool is_frames;
  SceneMap map;

  __device__ float read(const char* from, int y, int x) const {
    return *reinterpret_cast<const float*>(from + y * stride_h + x * stride_w);
  }
  __device__ float difference(int y, int x) const { return read(second, y, x) - read(first, y, x); }
  // The maps of scene_statistics.h without their constants; value(y, x) is of a picture, or of a change of pictures.
  template <typename Value>
  __device__ float gradient(int y, int x, const Value& value) const {
    return gradient_at(value(y, x), value(y, at_most(x + 1, width - 1)), value(at_most(y + 1, height - 1), x));
  }
  template <typename Value>
  __device__ float detail(int y, int x, const Value& value) const {
    return detail_at(value(y, x), value(y, at_least(x - 1, 0)), value(y, at_most(x + 1, width - 1)),
                     value(at_least(y - 1, 0), x), value(at_most(y + 1, height - 1), x));
  }
  __device__ float luma(int y, int x) const {
    if (!is_frames) return read(first, y, x);
    const auto now = [&](int i, int j) { return read(first, i, j); };
    switch (map) {
      case SceneMap::kGradient: return gradient(y, x, now) * 255.0f - 127.5f;
      case SceneMap::kDetail: return detail(y, x, now) * 255.0f;
      case SceneMap::kDifference: return difference(y, x) * 127.5f;
      default: return now(y, x) * 255.0f - 127.5f;
    }
  }
  // Differences are taken before scaling, and before the detail of them: equal pixels must give exactly 0.
  __device__ float change(int y, int x) const {
    if (!is_frames) return read(second, y, x);
    switch (map) {
      case SceneMap::kGradient:
        return (gradient(y, x, [&](int i, int j) { return read(second, i, j); }) -
                gradient(y, x, [&](int i, int j) { return read(first, i, j); })) *
               255.0f;
      case SceneMap::kDetail: return detail(y, x, [&](int i, int j) { return difference(i, j); }) * 255.0f;
      case SceneMap::kDifference: return 0.0f;
      default: return difference(y, x) * 255.0f;
    }
  }
};

// I of a level of the workspace; D is `size` floats behind.
struct StoredLevel {
  float* luma;
  int height, width;
  std::int64_t size;
};

__device__ inline StoredLevel stored_level(const Args& a, const CudaPlan& plan, std::int64_t image, int level) {
  const int height = plan.height >> level, width = plan.width >> level;
  return {a.rows + image * plan.level_floats + plan.levels[level], height, width,
          static_cast<std::int64_t>(height) * width};
}

__device__ inline Level level_of(const Args& a, const CudaPlan& plan, std::int64_t image, int level) {
  if (level == 0) {
    const char* now = a.frames + image * a.stride_n;
    return {now, now + a.stride_c, a.stride_h, a.stride_w, plan.height, plan.width, true, a.map};
  }
  const StoredLevel stored = stored_level(a, plan, image, level);
  constexpr std::int64_t kSize = sizeof(float);
  return {reinterpret_cast<const char*>(stored.luma),
          reinterpret_cast<const char*>(stored.luma + stored.size),
          stored.width * kSize,
          kSize,
          stored.height,
          stored.width,
          false,
          a.map};
}

// Every lane gets the same sum.
__device__ inline double warp_sum(double v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

}  // namespace scene
}  // namespace VQAFAST_ISA
}  // namespace vqafast
