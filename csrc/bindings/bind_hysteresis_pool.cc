#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/hysteresis_pool/hysteresis_pool.h"

namespace vqafast::bindings {

void bind_hysteresis_pool(py::module_& module) {
  constexpr const char* op = "hysteresis_pool";
  module.def(
      op,
      [](const py::object& q_in, const py::object& lengths_in, double alpha, std::int64_t beta, int threads,
         const py::object& pooled_in, const py::object& series_in) {
        const TensorArg q(op, "q", q_in);
        hysteresis_pool_check_q(q.view());
        const auto lengths = optional_arg(op, "lengths", lengths_in);
        const std::int64_t batch = q.view().shape[0], time = q.view().shape[1];
        const TensorArg pooled = output_arg(op, "out[0]", pooled_in, DType::kFloat32, {batch});
        const TensorArg series = output_arg(op, "out[1]", series_in, DType::kFloat32, {batch, time});
        const Context context{checked_threads(op, threads)};
        {
          GilRelease unlocked;
          hysteresis_pool(context, q.view(), view_or_null(lengths), {alpha, beta}, pooled.view(), series.view());
        }
        return py::make_tuple(pooled.object(), series.object());
      },
      py::arg("q"), py::arg("lengths"), py::arg("alpha"), py::arg("beta"), py::arg("threads"), py::arg("pooled"),
      py::arg("series"));
}

}  // namespace vqafast::bindings
