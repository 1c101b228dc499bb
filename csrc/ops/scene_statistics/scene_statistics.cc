#include "ops/scene_statistics/scene_statistics.h"

#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/scene_statistics/scene_statistics_cuda_plan.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void scene_statistics_cpu(const Context&, const scene::Args&))
VQAFAST_DECLARE_CUDA(void scene_statistics_cuda(const Context&, const scene::Args&))

static_assert(kSceneStatistics == 2 * scene::kChannels, "a mean and a standard deviation for each channel");

namespace {

constexpr const char* kOp = "scene_statistics";

// The workspace: partials, then slots. On the CPU a slot is the row buffers of a thread; on a CUDA device there is one,
// all levels of all pictures.
struct Sizes {
  std::int64_t bands, items;
  std::size_t partial_bytes, slot_bytes;
};

Sizes sizes_of(const TensorView& frames) {
  Sizes sizes{};
  if (frames.device == DeviceType::kCuda) {
    const scene::CudaPlan plan = scene::cuda_plan(frames.shape[2], frames.shape[3]);
    sizes.items = frames.shape[0];
    sizes.partial_bytes = scene::cuda_partial_bytes(plan, sizes.items);
    sizes.slot_bytes = scene::cuda_level_bytes(plan, sizes.items);
    return sizes;
  }
  sizes.bands = scene::band_count(frames.shape[2]);
  sizes.items = frames.shape[0] * sizes.bands;
  // A multiple of 64 bytes, so that the rows after it are aligned.
  const std::size_t partials = static_cast<std::size_t>(sizes.items) * scene::kChannels;
  sizes.partial_bytes = (partials * sizeof(scene::Partial) + 63) / 64 * 64;
  sizes.slot_bytes = static_cast<std::size_t>(scene::slot_floats(frames.shape[3])) * sizeof(float);
  return sizes;
}

}  // namespace

void scene_statistics_check_frames(const TensorView& frames) {
  check_ndim(kOp, "frames", frames, 4, "(N, 2, H, W)");
  check_dtype(kOp, "frames", frames, DType::kFloat32);
  VQAFAST_CHECK(kOp, frames.shape[1] == 2, "frames must have 2 channels, a picture and the one after it",
                concat("shape ", shape_text(frames)));
  VQAFAST_CHECK(kOp, frames.shape[2] >= scene::kMinSide && frames.shape[3] >= scene::kMinSide,
                concat("frames must be at least ", scene::kMinSide, " pixels high and wide"),
                concat("shape ", shape_text(frames)));
}

std::size_t scene_statistics_workspace_bytes(const Context& context, const TensorView& frames) {
  const Sizes sizes = sizes_of(frames);
  if (frames.device == DeviceType::kCuda) return sizes.partial_bytes + sizes.slot_bytes;
  const std::int64_t threads = context.threads > 0 ? context.threads : usable_threads();
  const std::int64_t slots = threads < sizes.items ? threads : sizes.items;
  return sizes.partial_bytes + static_cast<std::size_t>(slots) * sizes.slot_bytes;
}

void scene_statistics(const Context& context, const TensorView& frames, SceneMap map, const TensorView& out,
                      void* workspace, std::size_t workspace_bytes) {
  scene_statistics_check_frames(frames);
  const Device device = common_device(kOp, {{"frames", &frames}, {"out", &out}}, kOpHasCuda);
  const Sizes sizes = sizes_of(frames);
  if (sizes.items == 0) return;
  VQAFAST_CHECK(kOp, workspace_bytes >= sizes.partial_bytes + sizes.slot_bytes,
                concat("workspace must have at least ", sizes.partial_bytes + sizes.slot_bytes, " bytes"),
                workspace ? concat(workspace_bytes) : "None");
  VQAFAST_CHECK(kOp, reinterpret_cast<std::uintptr_t>(workspace) % kSceneStatisticsAlignment == 0,
                concat("workspace must be aligned to ", kSceneStatisticsAlignment, " bytes"), workspace);

  scene::Args args{};
  args.frames = frames.as<const char>();
  args.map = map;
  args.images = frames.shape[0];
  args.height = frames.shape[2];
  args.width = frames.shape[3];
  args.stride_n = frames.stride[0];
  args.stride_c = frames.stride[1];
  args.stride_h = frames.stride[2];
  args.stride_w = frames.stride[3];
  args.bands = sizes.bands;
  args.slots = static_cast<std::int64_t>((workspace_bytes - sizes.partial_bytes) / sizes.slot_bytes);
  args.partial = static_cast<scene::Partial*>(workspace);
  args.rows = reinterpret_cast<float*>(static_cast<char*>(workspace) + sizes.partial_bytes);
  args.out = out.as<float>();
  VQAFAST_RUN(scene_statistics, device, context, args);
}

}  // namespace vqafast
