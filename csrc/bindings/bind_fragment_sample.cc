#include "bindings/bindings.h"
#include "bindings/yuv_frame_arg.h"
#include "ops/fragment_sample/fragment_sample.h"

namespace vqafast::bindings {

void bind_fragment_sample(py::module_& module) {
  constexpr const char* op = "fragment_sample";
  module.def(
      op,
      [](const py::tuple& planes, const py::tuple& format, const py::object& positions_in, int patch,
         const std::vector<float>& mean, const std::vector<float>& std, std::int64_t channels, bool half, bool nhwc,
         int threads, std::uintptr_t stream, const py::object& out_in) {
        const YuvFrameArg frame = yuv_frame_arg(op, planes, format);
        const TensorArg positions(op, "positions", positions_in);
        check_ndim(op, "positions", positions.view(), 3, "(GH, GW, 2)");
        VQAFAST_CHECK(op, patch >= 1 && patch <= (1 << 16), "patch must lie in 1..65536", patch);
        const Normalisation normalisation = normalisation_arg(op, mean, std, static_cast<std::size_t>(channels));
        const std::int64_t height = positions.view().shape[0] * patch, width = positions.view().shape[1] * patch;
        const DType dtype = half ? DType::kFloat16 : DType::kFloat32;
        const TensorArg out = nhwc ? strided_output_arg(op, out_in, dtype, {height, width, channels})
                                   : strided_output_arg(op, out_in, dtype, {channels, height, width});
        const Context context = context_arg(op, threads, stream);
        {
          GilRelease unlocked;
          const Workspace workspace(fragment_sample_workspace(context, frame.frame, positions.view(), patch, nhwc,
                                                              normalisation, out.view()));
          fragment_sample(context, frame.frame, positions.view(), patch, nhwc, normalisation, workspace.data(),
                          out.view());
        }
        return out.object();
      },
      py::arg("planes"), py::arg("pixel_format"), py::arg("positions"), py::arg("patch"), py::arg("mean"),
      py::arg("std"), py::arg("channels"), py::arg("half"), py::arg("nhwc"), py::arg("threads"), py::arg("stream"),
      py::arg("out"));
}

}  // namespace vqafast::bindings
