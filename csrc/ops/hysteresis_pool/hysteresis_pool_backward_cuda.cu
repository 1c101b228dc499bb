// A score gathers its gradient from the steps that looked at it, in the order of time, so that nothing depends on which
// thread is first. A block for each sample.
#include "core/cuda_check.cuh"
#include "ops/hysteresis_pool/hysteresis_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kThreads = 256;
constexpr int kSteps = 768;  // whose windows are kept in shared memory at a time

// What a step gave: see hysteresis_backward.
template <typename Real>
struct Step {
  std::int64_t memory;  // the score that its memory term is
  Real least, weights, mean_above, grad;
};

template <typename Real>
__device__ inline Step<Real> step_of(const HysteresisPoolBackwardArgs& a, const Scores<Real>& q, std::int64_t b,
                                     std::int64_t t, std::int64_t length) {
  Real grad = 0;
  if (a.d_pooled) grad = *reinterpret_cast<const Real*>(a.d_pooled + b * a.d_pooled_stride) / static_cast<Real>(length);
  if (a.d_series) grad += Scores<Real>{a.d_series + b * a.d_series_stride_b, a.d_series_stride_t}[t];
  const Current<Real> current = current_score(q, t, length, a.problem.beta);
  return {memory_index(q, t, a.problem.beta), current.least, current.weights, current.excess / current.weights, grad};
}

template <typename Real>
__global__ void __launch_bounds__(kThreads) differentiate_rows(const HysteresisPoolBackwardArgs a) {
  __shared__ Step<Real> steps[kSteps];
  const HysteresisPoolArgs& problem = a.problem;
  const std::int64_t b = blockIdx.x, length = hysteresis_length(problem, b);
  const std::int64_t beta = problem.beta < length ? problem.beta : length;  // no window is longer
  const Scores<Real> q{problem.q + b * problem.q_stride_b, problem.q_stride_t};
  const Real alpha = static_cast<Real>(problem.alpha);
  Real* d_q = static_cast<Real*>(a.d_q) + b * problem.time;
  for (std::int64_t k = threadIdx.x; k < problem.time; k += kThreads) d_q[k] = 0;

  for (std::int64_t begin = 0; begin < length; begin += kSteps) {
    const std::int64_t end = begin + kSteps < length ? begin + kSteps : length;
    __syncthreads();  // nobody needs the steps before any more
    for (std::int64_t t = begin + threadIdx.x; t < end; t += kThreads) steps[t - begin] = step_of(a, q, b, t, length);
    __syncthreads();
    // The scores that these steps looked at.
    const std::int64_t first = begin > beta ? begin - beta : 0, last = end + beta < length ? end + beta : length;
    for (std::int64_t k = first + threadIdx.x; k < last; k += kThreads) {
      const Real score = q[k];
      Real sum = d_q[k];
      if (k == 0 && begin == 0) sum += alpha * steps[0].grad;  // the memory term of the first step is its own score
      for (std::int64_t t = k - beta > begin ? k - beta : begin; t <= k && t < end; ++t) {
        const Step<Real>& s = steps[t - begin];
        sum += (1 - alpha) * s.grad * current_derivative(score - s.least, s.mean_above, s.weights);
      }
      for (std::int64_t t = k + 1 > begin ? k + 1 : begin; t <= k + beta && t < end; ++t) {
        const Step<Real>& s = steps[t - begin];
        if (s.memory == k) sum += alpha * s.grad;
      }
      d_q[k] = sum;
    }
  }
}

template <typename Real>
void run(const HysteresisPoolBackwardArgs& args, cudaStream_t stream) {
  const Blocks blocks{static_cast<unsigned>(args.problem.batch), kThreads};
  launch_kernel("hysteresis_pool_backward", stream, differentiate_rows<Real>, blocks, args);
}

}  // namespace
}  // namespace VQAFAST_ISA

void hysteresis_pool_backward_cuda(const Context& context, const HysteresisPoolBackwardArgs& args);

void hysteresis_pool_backward_cuda(const Context& context, const HysteresisPoolBackwardArgs& args) {
  if (args.problem.batch == 0) return;
  const DeviceScope scope("hysteresis_pool_backward", context);
  args.problem.dtype == DType::kFloat64 ? VQAFAST_ISA::run<double>(args, stream_of(context))
                                        : VQAFAST_ISA::run<float>(args, stream_of(context));
}

}  // namespace vqafast
