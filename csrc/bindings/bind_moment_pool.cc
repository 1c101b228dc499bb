#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/moment_pool/moment_pool.h"

namespace vqafast::bindings {
namespace {

constexpr const char* kOp = "moment_pool";
constexpr const char* kBackward = "moment_pool_backward";

MapLayout layout_named(const char* op, const std::string& name) {
  VQAFAST_CHECK(op, name == "nchw" || name == "nhwc", "layout must be 'nchw' or 'nhwc'", name);
  return name == "nchw" ? MapLayout::kNchw : MapLayout::kNhwc;
}

py::object forward(const py::object& x_in, const std::string& layout_name, int threads, const py::object& out_in) {
  const TensorArg x(kOp, "x", x_in);
  moment_pool_check_x(kOp, x.view());
  const MapLayout layout = layout_named(kOp, layout_name);
  const std::int64_t channels = x.view().shape[layout == MapLayout::kNchw ? 1 : 3];
  const TensorArg out = output_arg(kOp, "out", out_in, moment_pool_result(x.view()), {x.view().shape[0], 2 * channels});
  const Context context{checked_threads(kOp, threads)};
  {
    GilRelease unlocked;
    std::vector<double> workspace(static_cast<std::size_t>(moment_pool_workspace(x.view(), layout)));
    moment_pool(context, x.view(), layout, out.view(), workspace.data());
  }
  return out.object();
}

py::object backward(const py::object& grad_in, const py::object& x_in, const py::object& moments_in,
                    const std::string& layout_name, int threads, const py::object& out_in) {
  const TensorArg grad(kBackward, "grad", grad_in), x(kBackward, "x", x_in);
  const TensorArg moments(kBackward, "moments", moments_in);
  moment_pool_check_x(kBackward, x.view());
  const MapLayout layout = layout_named(kBackward, layout_name);
  const std::int64_t* shape = x.view().shape;
  const TensorArg out = output_arg(kBackward, "out", out_in, x.view().dtype, {shape[0], shape[1], shape[2], shape[3]});
  const Context context{checked_threads(kBackward, threads)};
  {
    GilRelease unlocked;
    moment_pool_backward(context, grad.view(), x.view(), moments.view(), layout, out.view());
  }
  return out.object();
}

}  // namespace

void bind_moment_pool(py::module_& module) {
  module.def(kOp, &forward, py::arg("x"), py::arg("layout"), py::arg("threads"), py::arg("out"));
  module.def(kBackward, &backward, py::arg("grad"), py::arg("x"), py::arg("moments"), py::arg("layout"),
             py::arg("threads"), py::arg("out"));
}

}  // namespace vqafast::bindings
