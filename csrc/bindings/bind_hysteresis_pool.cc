#include "bindings/bindings.h"
#include "bindings/tensor_arg.h"
#include "ops/hysteresis_pool/hysteresis_pool.h"

namespace vqafast::bindings {
namespace {

constexpr const char* kOp = "hysteresis_pool";
constexpr const char* kBackward = "hysteresis_pool_backward";

py::tuple forward(const py::object& q_in, const py::object& lengths_in, double alpha, std::int64_t beta, int threads,
                  std::uintptr_t stream, const py::object& pooled_in, const py::object& series_in) {
  const TensorArg q(kOp, "q", q_in);
  hysteresis_pool_check_q(kOp, q.view());
  const auto lengths = optional_arg(kOp, "lengths", lengths_in);
  const std::int64_t batch = q.view().shape[0], time = q.view().shape[1];
  const TensorArg pooled = output_arg(kOp, "out[0]", pooled_in, q.view().dtype, {batch});
  const TensorArg series = output_arg(kOp, "out[1]", series_in, q.view().dtype, {batch, time});
  const Context context = context_arg(kOp, threads, stream);
  {
    GilRelease unlocked;
    hysteresis_pool(context, q.view(), view_or_null(lengths), {alpha, beta}, pooled.view(), series.view());
  }
  return py::make_tuple(pooled.object(), series.object());
}

py::object backward(const py::object& d_pooled_in, const py::object& d_series_in, const py::object& q_in,
                    const py::object& lengths_in, double alpha, std::int64_t beta, int threads, std::uintptr_t stream,
                    const py::object& out_in) {
  const TensorArg q(kBackward, "q", q_in);
  hysteresis_pool_check_q(kBackward, q.view());
  const auto d_pooled = optional_arg(kBackward, "d_pooled", d_pooled_in);
  const auto d_series = optional_arg(kBackward, "d_series", d_series_in);
  const auto lengths = optional_arg(kBackward, "lengths", lengths_in);
  const TensorArg out = output_arg(kBackward, "out", out_in, q.view().dtype, {q.view().shape[0], q.view().shape[1]});
  const Context context = context_arg(kBackward, threads, stream);
  {
    GilRelease unlocked;
    hysteresis_pool_backward(context, view_or_null(d_pooled), view_or_null(d_series), q.view(), view_or_null(lengths),
                             {alpha, beta}, out.view());
  }
  return out.object();
}

}  // namespace

void bind_hysteresis_pool(py::module_& module) {
  module.def(kOp, &forward, py::arg("q"), py::arg("lengths"), py::arg("alpha"), py::arg("beta"), py::arg("threads"),
             py::arg("stream"), py::arg("pooled"), py::arg("series"));
  module.def(kBackward, &backward, py::arg("d_pooled"), py::arg("d_series"), py::arg("q"), py::arg("lengths"),
             py::arg("alpha"), py::arg("beta"), py::arg("threads"), py::arg("stream"), py::arg("out"));
}

}  // namespace vqafast::bindings
