#include "bindings/bindings.h"
#include "bindings/yuv_frame_arg.h"
#include "ops/frame_ingest/frame_ingest.h"

namespace vqafast::bindings {

void bind_frame_ingest(py::module_& module) {
  constexpr const char* op = "frame_ingest";
  module.def(
      op,
      [](const py::tuple& planes, const py::tuple& format, const py::object& crops_in, std::int64_t height,
         std::int64_t width, const std::vector<float>& mean, const std::vector<float>& std, std::int64_t channels,
         bool half, bool nhwc, int threads, std::uintptr_t stream, const py::object& out_in) {
        const YuvFrameArg frame = yuv_frame_arg(op, planes, format);
        const TensorArg crops(op, "crops", crops_in);
        check_ndim(op, "crops", crops.view(), 2, "(K, 4)");
        VQAFAST_CHECK(op, height >= 1 && width >= 1, "out_size must be at least (1, 1)",
                      concat("(", height, ", ", width, ")"));
        const Normalisation normalisation = normalisation_arg(op, mean, std, static_cast<std::size_t>(channels));
        const std::int64_t count = crops.view().shape[0];
        const DType dtype = half ? DType::kFloat16 : DType::kFloat32;
        const TensorArg out = nhwc ? strided_output_arg(op, out_in, dtype, {count, height, width, channels})
                                   : strided_output_arg(op, out_in, dtype, {count, channels, height, width});
        const Context context = context_arg(op, threads, stream);
        {
          GilRelease unlocked;
          const Workspace workspace(
              frame_ingest_workspace(context, frame.frame, crops.view(), nhwc, normalisation, out.view()));
          frame_ingest(context, frame.frame, crops.view(), nhwc, normalisation, workspace.data(), out.view());
        }
        return out.object();
      },
      py::arg("planes"), py::arg("pixel_format"), py::arg("crops"), py::arg("height"), py::arg("width"),
      py::arg("mean"), py::arg("std"), py::arg("channels"), py::arg("half"), py::arg("nhwc"), py::arg("threads"),
      py::arg("stream"), py::arg("out"));
}

}  // namespace vqafast::bindings
