#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/moment_pool/moment_pool.h"

namespace vqafast::bindings {

void bind_moment_pool(py::module_& module) {
  constexpr const char* op = "moment_pool";
  module.def(
      op,
      [](const py::object& x_in, const std::string& layout_name, int threads, const py::object& out_in) {
        const TensorArg x(op, "x", x_in);
        moment_pool_check_x(x.view());
        VQAFAST_CHECK(op, layout_name == "nchw" || layout_name == "nhwc", "layout must be 'nchw' or 'nhwc'",
                      layout_name);
        const MapLayout layout = layout_name == "nchw" ? MapLayout::kNchw : MapLayout::kNhwc;
        const std::int64_t channels = x.view().shape[layout == MapLayout::kNchw ? 1 : 3];
        const TensorArg out = output_arg(op, "out", out_in, DType::kFloat32, {x.view().shape[0], 2 * channels});
        const Context context{checked_threads(op, threads)};
        {
          GilRelease unlocked;
          std::vector<double> workspace(static_cast<std::size_t>(moment_pool_workspace(x.view(), layout)));
          moment_pool(context, x.view(), layout, out.view(), workspace.data());
        }
        return out.object();
      },
      py::arg("x"), py::arg("layout"), py::arg("threads"), py::arg("out"));
}

}  // namespace vqafast::bindings
