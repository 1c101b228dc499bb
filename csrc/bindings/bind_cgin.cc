#include <string>

#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/cgin/cgin.h"

namespace vqafast::bindings {
namespace {

constexpr const char* kOp = "cgin";
constexpr const char* kBackward = "cgin_backward";

CginMode mode_named(const char* op, const std::string& name) {
  if (name == "cgin") return CginMode::kCgin;
  if (name == "fgin") return CginMode::kFgin;
  VQAFAST_CHECK(op, name == "adain", "mode must be 'cgin', 'fgin' or 'adain'", name);
  return CginMode::kAdain;
}

py::object forward(const py::object& x_in, const py::object& y_in, const py::object& gamma_x_in,
                   const py::object& theta_x_in, const py::object& gamma_y_in, const py::object& theta_y_in,
                   const py::object& lengths_in, const std::string& mode, double eps, int threads,
                   std::uintptr_t stream, const py::object& out_in) {
  const TensorArg x(kOp, "x", x_in), y(kOp, "y", y_in);
  cgin_check_x(kOp, x.view());
  const auto gamma_x = optional_arg(kOp, "gamma_x", gamma_x_in), theta_x = optional_arg(kOp, "theta_x", theta_x_in);
  const auto gamma_y = optional_arg(kOp, "gamma_y", gamma_y_in), theta_y = optional_arg(kOp, "theta_y", theta_y_in);
  const auto lengths = optional_arg(kOp, "lengths", lengths_in);
  const std::int64_t* shape = x.view().shape;
  const CginOptions options{mode_named(kOp, mode), eps};
  const TensorArg out = output_arg(kOp, "out", out_in, x.view().dtype, {shape[0], shape[1], 2 * shape[2]});
  const Context context = context_arg(kOp, threads, stream);
  {
    GilRelease unlocked;
    cgin(context, x.view(), y.view(), view_or_null(gamma_x), view_or_null(theta_x), view_or_null(gamma_y),
         view_or_null(theta_y), view_or_null(lengths), options, out.view());
  }
  return out.object();
}

py::tuple backward(const py::object& grad_in, const py::object& x_in, const py::object& y_in,
                   const py::object& gamma_x_in, const py::object& gamma_y_in, const py::object& lengths_in,
                   const std::string& mode, double eps, int threads, std::uintptr_t stream, const py::object& d_x_in,
                   const py::object& d_y_in, const py::object& d_gamma_x_in, const py::object& d_gamma_y_in) {
  const TensorArg grad(kBackward, "grad", grad_in), x(kBackward, "x", x_in), y(kBackward, "y", y_in);
  cgin_check_x(kBackward, x.view());
  const auto gamma_x = optional_arg(kBackward, "gamma_x", gamma_x_in);
  const auto gamma_y = optional_arg(kBackward, "gamma_y", gamma_y_in);
  const auto lengths = optional_arg(kBackward, "lengths", lengths_in);
  const CginOptions options{mode_named(kBackward, mode), eps};
  const std::int64_t* shape = x.view().shape;
  const auto output = [&](const char* name, const py::object& given) {
    return output_arg(kBackward, name, given, x.view().dtype, {shape[0], shape[1], shape[2]});
  };
  const TensorArg d_x = output("out[0]", d_x_in), d_y = output("out[1]", d_y_in);
  std::optional<TensorArg> d_gamma_x, d_gamma_y;
  if (options.mode != CginMode::kAdain) {
    d_gamma_x = output("out[2]", d_gamma_x_in);
    d_gamma_y = output("out[3]", d_gamma_y_in);
  }
  const Context context = context_arg(kBackward, threads, stream);
  {
    GilRelease unlocked;
    cgin_backward(context, grad.view(), x.view(), y.view(), view_or_null(gamma_x), view_or_null(gamma_y),
                  view_or_null(lengths), options,
                  {&d_x.view(), &d_y.view(), view_or_null(d_gamma_x), view_or_null(d_gamma_y)});
  }
  const auto object = [](const std::optional<TensorArg>& arg) { return arg ? arg->object() : py::none(); };
  return py::make_tuple(d_x.object(), d_y.object(), object(d_gamma_x), object(d_gamma_y));
}

}  // namespace

void bind_cgin(py::module_& module) {
  module.def(kOp, &forward, py::arg("x"), py::arg("y"), py::arg("gamma_x"), py::arg("theta_x"), py::arg("gamma_y"),
             py::arg("theta_y"), py::arg("lengths"), py::arg("mode"), py::arg("eps"), py::arg("threads"),
             py::arg("stream"), py::arg("out"));
  module.def(kBackward, &backward, py::arg("grad"), py::arg("x"), py::arg("y"), py::arg("gamma_x"), py::arg("gamma_y"),
             py::arg("lengths"), py::arg("mode"), py::arg("eps"), py::arg("threads"), py::arg("stream"), py::arg("d_x"),
             py::arg("d_y"), py::arg("d_gamma_x"), py::arg("d_gamma_y"));
}

}  // namespace vqafast::bindings
