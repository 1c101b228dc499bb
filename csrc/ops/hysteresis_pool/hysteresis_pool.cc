#include "ops/hysteresis_pool/hysteresis_pool.h"

#include "core/dispatch.h"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void hysteresis_pool_cpu(const Context&, const HysteresisPoolArgs&))

namespace {
constexpr const char* kOp = "hysteresis_pool";
}

void hysteresis_pool_check_q(const TensorView& q) {
  check_ndim(kOp, "q", q, 2, "(B, T)");
  check_dtype(kOp, "q", q, DType::kFloat32);
  VQAFAST_CHECK(kOp, q.shape[1] >= 1, "q must have at least one time step", concat("shape ", shape_text(q)));
}

void hysteresis_pool(const Context& context, const TensorView& q, const TensorView* lengths,
                     const HysteresisPoolOptions& options, const TensorView& pooled, const TensorView& series) {
  hysteresis_pool_check_q(q);
  VQAFAST_CHECK(kOp, options.alpha >= 0 && options.alpha <= 1, "alpha must lie in 0..1", options.alpha);
  VQAFAST_CHECK(kOp, options.beta >= 1, "beta must be at least 1", options.beta);
  if (lengths) check_lengths(kOp, *lengths, q.shape[0], q.shape[1]);
  common_device(kOp, {{"q", &q}, {"lengths", lengths}, {"pooled", &pooled}, {"series", &series}}, kOpHasCuda);

  HysteresisPoolArgs args{};
  args.q = q.as<const char>();
  args.q_stride_b = q.stride[0];
  args.q_stride_t = q.stride[1];
  args.lengths = lengths ? lengths->as<const char>() : nullptr;
  args.lengths_stride = lengths ? lengths->stride[0] : 0;
  args.pooled = pooled.as<float>();
  args.series = series.as<float>();
  args.batch = q.shape[0];
  args.time = q.shape[1];
  args.beta = options.beta;
  args.alpha = static_cast<float>(options.alpha);
  VQAFAST_SELECT_KERNEL(hysteresis_pool_cpu)(context, args);
}

}  // namespace vqafast
