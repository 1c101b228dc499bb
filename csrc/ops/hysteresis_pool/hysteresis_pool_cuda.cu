// A block for each sample: a row is short, and its mean then needs no second kernel.
#include "core/cuda_check.cuh"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kThreads = 256, kWarp = 32, kWarps = kThreads / kWarp;
constexpr int kRowBytes = 32768;  // a row up to this size is read from shared memory

template <typename Real>
__global__ void __launch_bounds__(kThreads) pool_rows(const HysteresisPoolArgs a) {
  constexpr int kRow = kRowBytes / static_cast<int>(sizeof(Real));
  __shared__ Real row[kRow];
  __shared__ double totals[kWarps];
  const std::int64_t b = blockIdx.x, length = hysteresis_length(a, b);
  const int thread = threadIdx.x;
  Scores<Real> q{a.q + b * a.q_stride_b, a.q_stride_t};
  if (length <= kRow) {
    for (std::int64_t t = thread; t < length; t += kThreads) row[t] = q[t];
    __syncthreads();
    q = {reinterpret_cast<const char*>(row), sizeof(Real)};
  }
  Real* series = static_cast<Real*>(a.series) + b * a.time;
  const Real alpha = static_cast<Real>(a.alpha);
  double total = 0;
  for (std::int64_t t = thread; t < a.time; t += kThreads) {
    const Real score = t < length ? hysteresis_score(q, t, length, a.beta, alpha) : 0;
    series[t] = score;
    total += static_cast<double>(score);
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) total += __shfl_down_sync(~0u, total, offset);
  if (thread % kWarp == 0) totals[thread / kWarp] = total;
  __syncthreads();
  if (thread > 0) return;
  for (int w = 1; w < kWarps; ++w) total += totals[w];
  static_cast<Real*>(a.pooled)[b] = static_cast<Real>(total / static_cast<double>(length));
}

template <typename Real>
void run(const HysteresisPoolArgs& args, cudaStream_t stream) {
  launch_kernel("hysteresis_pool", stream, pool_rows<Real>, {static_cast<unsigned>(args.batch), kThreads}, args);
}

}  // namespace
}  // namespace VQAFAST_ISA

void hysteresis_pool_cuda(const Context& context, const HysteresisPoolArgs& args);

void hysteresis_pool_cuda(const Context& context, const HysteresisPoolArgs& args) {
  if (args.batch == 0) return;
  const DeviceScope scope("hysteresis_pool", context);
  args.dtype == DType::kFloat64 ? VQAFAST_ISA::run<double>(args, stream_of(context))
                                : VQAFAST_ISA::run<float>(args, stream_of(context));
}

}  // namespace vqafast
