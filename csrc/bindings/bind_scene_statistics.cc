#include <memory>
#include <optional>
#include <string>

#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "core/dispatch.h"
#include "ops/scene_statistics/scene_statistics.h"

namespace vqafast::bindings {
namespace {

constexpr const char* kOp = "scene_statistics";

SceneMap map_named(const std::string& name) {
  if (name == "luma") return SceneMap::kLuma;
  if (name == "gradient") return SceneMap::kGradient;
  if (name == "detail") return SceneMap::kDetail;
  VQAFAST_CHECK(kOp, name == "difference", "of must be 'luma', 'gradient', 'detail' or 'difference'", name);
  return SceneMap::kDifference;
}

// The caller's workspace, checked for all but its size and alignment, which the op checks; null when it is None.
std::optional<TensorArg> workspace_arg(const py::object& workspace, const TensorView& frames) {
  if (workspace.is_none()) return std::nullopt;
  TensorArg arg(kOp, "workspace", workspace, true);
  const TensorView& view = arg.view();
  check_dtype(kOp, "workspace", view, DType::kUInt8);
  VQAFAST_CHECK(kOp, is_contiguous(view), "workspace must be C-contiguous", "a strided array");
  common_device(kOp, {{"frames", &frames}, {"workspace", &view}}, true);
  return arg;
}

void run(const Context& context, const TensorView& frames, SceneMap map, const TensorView& out,
         const TensorView* workspace) {
  GilRelease unlocked;
  // Memory of a CUDA device is the caller's to give.
  if (workspace || frames.device == DeviceType::kCuda) {
    const std::int64_t bytes = workspace ? element_count(*workspace) : 0;
    scene_statistics(context, frames, map, out, workspace ? workspace->data : nullptr, static_cast<std::size_t>(bytes));
    return;
  }
  const std::size_t bytes = scene_statistics_workspace_bytes(context, frames);
  std::size_t room = bytes + kSceneStatisticsAlignment;
  const std::unique_ptr<char[]> memory(new char[room]);
  void* aligned = memory.get();
  std::align(kSceneStatisticsAlignment, bytes, aligned, room);
  scene_statistics(context, frames, map, out, aligned, bytes);
}

}  // namespace

void bind_scene_statistics(py::module_& module) {
  module.def(
      kOp,
      [](const py::object& frames_in, const std::string& map, int threads, std::uintptr_t stream,
         const py::object& workspace_in, const py::object& out_in) {
        const TensorArg frames(kOp, "frames", frames_in);
        scene_statistics_check_frames(frames.view());
        const TensorArg out =
            output_arg(kOp, "out", out_in, DType::kFloat32, {frames.view().shape[0], kSceneStatistics});
        const Context context = context_arg(kOp, threads, stream);
        const std::optional<TensorArg> workspace = workspace_arg(workspace_in, frames.view());
        run(context, frames.view(), map_named(map), out.view(), view_or_null(workspace));
        return out.object();
      },
      py::arg("frames"), py::arg("of"), py::arg("threads"), py::arg("stream"), py::arg("workspace"), py::arg("out"));
  module.def(
      "scene_statistics_workspace",
      [](const py::object& frames_in) {
        const TensorArg frames(kOp, "frames", frames_in);
        scene_statistics_check_frames(frames.view());
        return scene_statistics_workspace_bytes(Context{}, frames.view());
      },
      py::arg("frames"));
}

}  // namespace vqafast::bindings
