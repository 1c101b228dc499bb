// Three kernels: pictures into levels and the block stages' partials, tiles of each level into the scales' partials,
// partials into statistics. Every reduction has a fixed order, so results are the same bits at every run.
#include "core/cuda_check.cuh"
#include "ops/scene_statistics/scene_statistics_cuda_picture.cuh"
#include "ops/scene_statistics/scene_statistics_cuda_scales.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace scene {
namespace {

constexpr int kMergeThreads = 128, kMergeWarps = kMergeThreads / kWarp;
static_assert(kChannels % kMergeWarps == 0, "a warp for each channel");

// One warp adds up the tiles of one channel of one image.
__global__ void __launch_bounds__(kMergeThreads)
    merge_kernel(const __grid_constant__ Args a, const __grid_constant__ CudaPlan plan) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kMergeWarps + threadIdx.x / kWarp;
  const std::int64_t image = row / kChannels;
  const int channel = static_cast<int>(row % kChannels);

  const bool is_scale = channel < kScales * kScaleChannels;
  const int in_picture = channel - kScales * kScaleChannels;
  const bool is_dct = in_picture < kDctChannels;
  const Tiling tiling = is_scale ? plan.scales[channel / kScaleChannels] : plan.picture;
  const int in_tiling = is_scale ? channel % kScaleChannels : in_picture;
  const int in_stage = is_scale || is_dct ? in_tiling : in_picture - kDctChannels;
  const int stage_channels = is_scale ? kScaleChannels : is_dct ? kDctChannels : kGrid;

  const Partial* partial =
      a.partial + image * plan.partials + tiling.first + static_cast<std::int64_t>(in_tiling) * tiling.count;
  double count = 0, total = 0, squares = 0;
  for (int i = lane; i < tiling.count; i += kWarp) {
    count += partial[i].count;
    total += partial[i].count * partial[i].mean;
  }
  count = warp_sum(count);
  const double mean = warp_sum(total) / count;
  for (int i = lane; i < tiling.count; i += kWarp) {
    const double d = partial[i].mean - mean;
    squares += partial[i].squares + partial[i].count * d * d;
  }
  const double variance = warp_sum(squares) / count;
  if (lane > 0) return;
  float* out = a.out + image * 2 * kChannels + 2 * (channel - in_stage) + in_stage;
  out[0] = static_cast<float>(mean);
  out[stage_channels] = static_cast<float>(sqrt(variance < 0 ? 0.0 : variance));
}

}  // namespace
}  // namespace scene
}  // namespace VQAFAST_ISA

void scene_statistics_cuda(const Context& context, const scene::Args& args);

void scene_statistics_cuda(const Context& context, const scene::Args& args) {
  namespace kernels = VQAFAST_ISA::scene;
  constexpr const char* kOp = "scene_statistics";
  const DeviceScope scope(kOp, context);
  const cudaStream_t stream = stream_of(context);
  const scene::CudaPlan plan = scene::cuda_plan(args.height, args.width);
  kernels::ChannelOrder order;
  for (int c = 0; c < scene::kScaleChannels; ++c) order.channel[c] = kernels::kChannelOf[c];
  const auto blocks = [&](std::int64_t per_image, int threads) {
    return Blocks{static_cast<unsigned>(args.images * per_image), threads};
  };
  const Blocks merging = blocks(scene::kChannels / kernels::kMergeWarps, kernels::kMergeThreads);
  launch_kernel(kOp, stream, kernels::picture_kernel, blocks(plan.picture.count, kernels::kPictureThreads), args, plan);
  launch_kernel(kOp, stream, kernels::scales_kernel, blocks(plan.map_tiles, kernels::kMapThreads), args, plan, order);
  launch_kernel(kOp, stream, kernels::merge_kernel, merging, args, plan);
}

}  // namespace vqafast
