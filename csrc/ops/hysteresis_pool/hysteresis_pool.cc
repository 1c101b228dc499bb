#include "ops/hysteresis_pool/hysteresis_pool.h"

#include "core/dispatch.h"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void hysteresis_pool_cpu(const Context&, const HysteresisPoolArgs&))
VQAFAST_DECLARE_KERNEL(void hysteresis_pool_backward_cpu(const Context&, const HysteresisPoolBackwardArgs&))
VQAFAST_DECLARE_CUDA(void hysteresis_pool_cuda(const Context&, const HysteresisPoolArgs&))
VQAFAST_DECLARE_CUDA(void hysteresis_pool_backward_cuda(const Context&, const HysteresisPoolBackwardArgs&))

namespace {

constexpr const char* kOp = "hysteresis_pool";
constexpr const char* kBackward = "hysteresis_pool_backward";

HysteresisPoolArgs checked_problem(const char* op, const TensorView& q, const TensorView* lengths,
                                   const HysteresisPoolOptions& options) {
  hysteresis_pool_check_q(op, q);
  VQAFAST_CHECK(op, options.alpha >= 0 && options.alpha <= 1, "alpha must lie in 0..1", options.alpha);
  VQAFAST_CHECK(op, options.beta >= 1, "beta must be at least 1", options.beta);
  if (lengths) check_lengths(op, *lengths, q.shape[0], q.shape[1]);
  HysteresisPoolArgs args{};
  args.dtype = q.dtype;
  args.q = q.as<const char>();
  args.q_stride_b = q.stride[0];
  args.q_stride_t = q.stride[1];
  args.lengths = lengths ? lengths->as<const char>() : nullptr;
  args.lengths_stride = lengths ? lengths->stride[0] : 0;
  args.batch = q.shape[0];
  args.time = q.shape[1];
  args.beta = options.beta;
  args.alpha = options.alpha;
  return args;
}

}  // namespace

void hysteresis_pool_check_q(const char* op, const TensorView& q) {
  check_ndim(op, "q", q, 2, "(B, T)");
  VQAFAST_CHECK(op, q.dtype == DType::kFloat32 || q.dtype == DType::kFloat64, "q must be float32 or float64",
                name_of(q.dtype));
  VQAFAST_CHECK(op, q.shape[1] >= 1, "q must have at least one time step", concat("shape ", shape_text(q)));
}

void hysteresis_pool(const Context& context, const TensorView& q, const TensorView* lengths,
                     const HysteresisPoolOptions& options, const TensorView& pooled, const TensorView& series) {
  HysteresisPoolArgs args = checked_problem(kOp, q, lengths, options);
  const Device device =
      common_device(kOp, {{"q", &q}, {"lengths", lengths}, {"pooled", &pooled}, {"series", &series}}, kOpHasCuda);
  args.pooled = pooled.data;
  args.series = series.data;
  VQAFAST_RUN(hysteresis_pool, device, context, args);
}

void hysteresis_pool_backward(const Context& context, const TensorView* d_pooled, const TensorView* d_series,
                              const TensorView& q, const TensorView* lengths, const HysteresisPoolOptions& options,
                              const TensorView& d_q) {
  HysteresisPoolBackwardArgs args{};
  args.problem = checked_problem(kBackward, q, lengths, options);
  if (d_pooled) {
    VQAFAST_CHECK(kBackward, d_pooled->ndim == 1 && d_pooled->shape[0] == q.shape[0],
                  concat("d_pooled must have shape (", q.shape[0], ",)"), concat("shape ", shape_text(*d_pooled)));
    check_dtype(kBackward, "d_pooled", *d_pooled, q.dtype);
    args.d_pooled = d_pooled->as<const char>();
    args.d_pooled_stride = d_pooled->stride[0];
  }
  if (d_series) {
    check_same_shape(kBackward, "d_series", *d_series, "q", q);
    check_dtype(kBackward, "d_series", *d_series, q.dtype);
    args.d_series = d_series->as<const char>();
    args.d_series_stride_b = d_series->stride[0];
    args.d_series_stride_t = d_series->stride[1];
  }
  const Device device = common_device(
      kBackward, {{"q", &q}, {"d_pooled", d_pooled}, {"d_series", d_series}, {"lengths", lengths}, {"d_q", &d_q}},
      kOpHasCuda);
  args.d_q = d_q.data;
  VQAFAST_RUN(hysteresis_pool_backward, device, context, args);
}

}  // namespace vqafast
