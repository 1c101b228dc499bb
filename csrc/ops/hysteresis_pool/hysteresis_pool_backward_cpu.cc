#include "core/context.h"
#include "core/parallel.h"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

template <typename Real>
void run(const Context& context, const HysteresisPoolBackwardArgs& args) {
  const HysteresisPoolArgs& p = args.problem;
  const Real alpha = static_cast<Real>(p.alpha);
  parallel_for(context.threads, p.batch, hysteresis_grain(p), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Scores<Real> q{p.q + b * p.q_stride_b, p.q_stride_t};
      const std::int64_t length = hysteresis_length(p, b);
      Real* d_q = static_cast<Real*>(args.d_q) + b * p.time;
      for (std::int64_t t = 0; t < p.time; ++t) d_q[t] = 0;
      Real share = 0;  // of Q's gradient, for each step
      if (args.d_pooled) {
        const Real total = *reinterpret_cast<const Real*>(args.d_pooled + b * args.d_pooled_stride);
        share = total / static_cast<Real>(length);
      }
      const Scores<Real> d_series{args.d_series ? args.d_series + b * args.d_series_stride_b : nullptr,
                                  args.d_series_stride_t};
      for (std::int64_t t = 0; t < length; ++t) {
        const Real grad = args.d_series ? share + d_series[t] : share;
        hysteresis_backward(q, t, length, p.beta, alpha, grad, d_q);
      }
    }
  });
}

}  // namespace

void hysteresis_pool_backward_cpu(const Context& context, const HysteresisPoolBackwardArgs& args);

void hysteresis_pool_backward_cpu(const Context& context, const HysteresisPoolBackwardArgs& args) {
  args.problem.dtype == DType::kFloat64 ? run<double>(context, args) : run<float>(context, args);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
