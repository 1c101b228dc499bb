#include <optional>
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

std::int64_t workspace_size(const py::object& x_in, const std::string& layout_name) {
  const TensorArg x(kOp, "x", x_in);
  moment_pool_check_x(kOp, x.view());
  return moment_pool_workspace(x.view(), layout_named(kOp, layout_name));
}

py::object forward(const py::object& x_in, const std::string& layout_name, int threads, std::uintptr_t stream,
                   const py::object& out_in, const py::object& workspace_in) {
  const TensorArg x(kOp, "x", x_in);
  moment_pool_check_x(kOp, x.view());
  const MapLayout layout = layout_named(kOp, layout_name);
  const std::int64_t channels = x.view().shape[layout == MapLayout::kNchw ? 1 : 3];
  const TensorArg out = output_arg(kOp, "out", out_in, moment_pool_result(x.view()), {x.view().shape[0], 2 * channels});
  std::optional<TensorArg> given;
  if (!workspace_in.is_none()) given.emplace(kOp, "workspace", workspace_in, true);
  const Context context = context_arg(kOp, threads, stream);
  {
    GilRelease unlocked;
    std::vector<double> own;
    TensorView own_view;
    if (!given && x.view().device == DeviceType::kCpu) {
      own.resize(static_cast<std::size_t>(moment_pool_workspace(x.view(), layout)));
      own_view.data = own.data();
      own_view.dtype = DType::kFloat64;
      own_view.ndim = 1;
      own_view.shape[0] = static_cast<std::int64_t>(own.size());
      own_view.stride[0] = sizeof(double);
    }
    moment_pool(context, x.view(), layout, out.view(), own_view.ndim ? &own_view : view_or_null(given));
  }
  return out.object();
}

py::object backward(const py::object& grad_in, const py::object& x_in, const py::object& moments_in,
                    const std::string& layout_name, int threads, std::uintptr_t stream, const py::object& out_in) {
  const TensorArg grad(kBackward, "grad", grad_in), x(kBackward, "x", x_in);
  const TensorArg moments(kBackward, "moments", moments_in);
  moment_pool_check_x(kBackward, x.view());
  const MapLayout layout = layout_named(kBackward, layout_name);
  const std::int64_t* shape = x.view().shape;
  const TensorArg out = output_arg(kBackward, "out", out_in, x.view().dtype, {shape[0], shape[1], shape[2], shape[3]});
  const Context context = context_arg(kBackward, threads, stream);
  {
    GilRelease unlocked;
    moment_pool_backward(context, grad.view(), x.view(), moments.view(), layout, out.view());
  }
  return out.object();
}

}  // namespace

void bind_moment_pool(py::module_& module) {
  module.def(kOp, &forward, py::arg("x"), py::arg("layout"), py::arg("threads"), py::arg("stream"), py::arg("out"),
             py::arg("workspace"));
  module.def("moment_pool_workspace", &workspace_size, py::arg("x"), py::arg("layout"));
  module.def(kBackward, &backward, py::arg("grad"), py::arg("x"), py::arg("moments"), py::arg("layout"),
             py::arg("threads"), py::arg("stream"), py::arg("out"));
}

}  // namespace vqafast::bindings
