#include "core/context.h"
#include "core/parallel.h"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {

void hysteresis_pool_cpu(const Context& context, const HysteresisPoolArgs& args);

void hysteresis_pool_cpu(const Context& context, const HysteresisPoolArgs& args) {
  parallel_for(context.threads, args.batch, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const char* row = args.q + b * args.q_stride_b;
      const std::int64_t length =
          args.lengths ? *reinterpret_cast<const std::int64_t*>(args.lengths + b * args.lengths_stride) : args.time;
      float* series = args.series + b * args.time;
      double total = 0;
      for (std::int64_t t = 0; t < length; ++t) {
        series[t] = hysteresis_score(row, args.q_stride_t, t, length, args.beta, args.alpha);
        total += series[t];
      }
      for (std::int64_t t = length; t < args.time; ++t) series[t] = 0;
      args.pooled[b] = static_cast<float>(total / static_cast<double>(length));
    }
  });
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
