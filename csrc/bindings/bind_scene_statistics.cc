#include <memory>

#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/scene_statistics/scene_statistics.h"

namespace vqafast::bindings {

void bind_scene_statistics(py::module_& module) {
  constexpr const char* op = "scene_statistics";
  module.def(
      op,
      [](const py::object& frames_in, int threads, const py::object& out_in) {
        const TensorArg frames(op, "frames", frames_in);
        scene_statistics_check_frames(frames.view());
        const TensorArg out =
            output_arg(op, "out", out_in, DType::kFloat32, {frames.view().shape[0], kSceneStatistics});
        const Context context{checked_threads(op, threads)};
        {
          GilRelease unlocked;
          constexpr std::size_t kAlign = 64;
          const std::size_t bytes = scene_statistics_workspace_bytes(context, frames.view());
          std::size_t room = bytes + kAlign;
          const std::unique_ptr<char[]> memory(new char[room]);
          void* workspace = memory.get();
          std::align(kAlign, bytes, workspace, room);
          scene_statistics(context, frames.view(), out.view(), workspace, bytes);
        }
        return out.object();
      },
      py::arg("frames"), py::arg("threads"), py::arg("out"));
}

}  // namespace vqafast::bindings
