#include "core/context.h"
#include "core/parallel.h"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

template <typename Real>
void run(const Context& context, const HysteresisPoolArgs& args) {
  const Real alpha = static_cast<Real>(args.alpha);
  parallel_for(context.threads, args.batch, hysteresis_grain(args), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Scores<Real> q{args.q + b * args.q_stride_b, args.q_stride_t};
      const std::int64_t length = hysteresis_length(args, b);
      Real* series = static_cast<Real*>(args.series) + b * args.time;
      double total = 0;
      for (std::int64_t t = 0; t < length; ++t) {
        series[t] = hysteresis_score(q, t, length, args.beta, alpha);
        total += static_cast<double>(series[t]);
      }
      for (std::int64_t t = length; t < args.time; ++t) series[t] = 0;
      static_cast<Real*>(args.pooled)[b] = static_cast<Real>(total / static_cast<double>(length));
    }
  });
}

}  // namespace

void hysteresis_pool_cpu(const Context& context, const HysteresisPoolArgs& args);

void hysteresis_pool_cpu(const Context& context, const HysteresisPoolArgs& args) {
  args.dtype == DType::kFloat64 ? run<double>(context, args) : run<float>(context, args);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
