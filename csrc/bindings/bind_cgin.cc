#include <string>

#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/cgin/cgin.h"

namespace vqafast::bindings {
namespace {

constexpr const char* kOp = "cgin";

CginMode mode_named(const std::string& name) {
  if (name == "cgin") return CginMode::kCgin;
  if (name == "fgin") return CginMode::kFgin;
  VQAFAST_CHECK(kOp, name == "adain", "mode must be 'cgin', 'fgin' or 'adain'", name);
  return CginMode::kAdain;
}

}  // namespace

void bind_cgin(py::module_& module) {
  module.def(
      kOp,
      [](const py::object& x_in, const py::object& y_in, const py::object& gamma_x_in, const py::object& theta_x_in,
         const py::object& gamma_y_in, const py::object& theta_y_in, const py::object& lengths_in,
         const std::string& mode, double eps, int threads, const py::object& out_in) {
        const TensorArg x(kOp, "x", x_in), y(kOp, "y", y_in);
        cgin_check_x(x.view());
        const auto gamma_x = optional_arg(kOp, "gamma_x", gamma_x_in),
                   theta_x = optional_arg(kOp, "theta_x", theta_x_in);
        const auto gamma_y = optional_arg(kOp, "gamma_y", gamma_y_in),
                   theta_y = optional_arg(kOp, "theta_y", theta_y_in);
        const auto lengths = optional_arg(kOp, "lengths", lengths_in);
        const std::int64_t* shape = x.view().shape;
        const CginOptions options{mode_named(mode), eps};
        const TensorArg out = output_arg(kOp, "out", out_in, DType::kFloat32, {shape[0], shape[1], 2 * shape[2]});
        const Context context{checked_threads(kOp, threads)};
        {
          GilRelease unlocked;
          cgin(context, x.view(), y.view(), view_or_null(gamma_x), view_or_null(theta_x), view_or_null(gamma_y),
               view_or_null(theta_y), view_or_null(lengths), options, out.view());
        }
        return out.object();
      },
      py::arg("x"), py::arg("y"), py::arg("gamma_x"), py::arg("theta_x"), py::arg("gamma_y"), py::arg("theta_y"),
      py::arg("lengths"), py::arg("mode"), py::arg("eps"), py::arg("threads"), py::arg("out"));
}

}  // namespace vqafast::bindings
