#include "ops/cgin/cgin_columns.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

// Means over time of the gradient of the normalised values, and of its product with them. In adain, where gamma is one
// number per channel, before it is multiplied in.
template <typename Real>
struct GradientMeans {
  Real grad, product;
};

// One thread's sums of the gradient h of a channel's normalised values, and of its product with the channel's values x
// less `shift`, in the same pass as the statistics of x: rows are added up from their own mean in Real.
template <typename Real>
struct GradientSums {
  double grad = 0, product = 0;

  template <int kWidth>
  __device__ void add(const Values<Real, kWidth>* x, const Values<Real, kWidth>* h, int c, int rows, Real mean,
                      double shift) {
    Real sum = 0, products = 0;
#pragma unroll
    for (int r = 0; r < kUnroll; ++r) {
      if (r < rows) {
        sum += h[r].v[c];
        products += h[r].v[c] * (x[r].v[c] - mean);
      }
    }
    grad += static_cast<double>(sum);
    product += static_cast<double>(products) + (static_cast<double>(mean) - shift) * static_cast<double>(sum);
  }
};

// What a row's output gradient is of the normalised value: `grad` times (gamma + gamma_1), or in adain itself.
template <typename Real, int kWidth>
__device__ int load_gradients(const CginBackwardArgs& args, int k, const Place<kWidth>& place, std::int64_t t,
                              Values<Real, kWidth>* x, Values<Real, kWidth>* grad, Values<Real, kWidth>* h) {
  const CginBackwardBranch& branch = args.branch[k];
  const int there =
      load_rows(Column<Real, kWidth>(branch.features, place.b, place.channel), t, place.rows, place.length, x);
  load_rows(Column<Real, kWidth>(branch.grad, place.b, place.channel), t, place.rows, place.length, grad);
  if (!args.problem.adain)
    load_rows(Column<Real, kWidth>(branch.gamma, place.b, place.channel), t, place.rows, place.length, h);
  const Real gamma_1 = static_cast<Real>(args.problem.gamma_1);
#pragma unroll
  for (int r = 0; r < kUnroll; ++r) {
#pragma unroll
    for (int c = 0; c < kWidth; ++c)
      h[r].v[c] = args.problem.adain ? grad[r].v[c] : cgin_modulate_backward(grad[r].v[c], h[r].v[c], gamma_1);
  }
  return there;
}

template <typename Real, int kWidth>
__global__ void __launch_bounds__(kThreads, 1) backward(const __grid_constant__ CginBackwardArgs args, int lanes) {
  auto* shared = dynamic_shared<SharedSums<kWidth>>();  // of x and y
  auto* gradients = shared + 1;                         // `mean`: of h; `squares`: of h times x less its mean
  __shared__ ColumnStatistics<Real> statistics[2][kThreads];
  __shared__ GradientMeans<Real> means[2][kThreads];
  const CginProblem& p = args.problem;
  const Place<kWidth> place(p, lanes);

  for (int k = 0; k < 2; ++k) {
    ColumnSums<Real> sums[kWidth];
    GradientSums<Real> grads[kWidth];
    if (place.inside) {
      for (std::int64_t t = place.row; t < place.length; t += place.step()) {
        Values<Real, kWidth> x[kUnroll], grad[kUnroll], h[kUnroll];
        const int there = load_gradients(args, k, place, t, x, grad, h);
#pragma unroll
        for (int c = 0; c < kWidth; ++c) {
          sums[c].add(x, c, there);
          grads[c].add(x, h, c, there, ColumnSums<Real>::mean_of(x, c, there), sums[c].shift);
        }
      }
    }
    store_sums(place, sums, shared->mean[k], shared->squares[k]);
#pragma unroll
    for (int c = 0; c < kWidth; ++c) {
      // The product from the thread's own mean, which the block's mean is moved to later.
      const double away = shared->mean[k][place.shared_at(c)] - sums[c].shift;
      gradients->mean[k][place.shared_at(c)] = grads[c].grad;
      gradients->squares[k][place.shared_at(c)] = grads[c].product - away * grads[c].grad;
    }
  }
  __syncthreads();
  const Reducer<kWidth> reducer(lanes);
  double mean, squares;
  combine(*shared, reducer, place.length, &mean, &squares);
  const int first = SharedSums<kWidth>::at(reducer.column, 0, reducer.rows);
  const double* own_means = shared->mean[reducer.tensor] + first;
  const double* sums = gradients->mean[reducer.tensor] + first;
  const double* products = gradients->squares[reducer.tensor] + first;
  const double grad = reducer.sum([&](int r) { return sums[r]; });
  const double product = reducer.sum([&](int r) { return products[r] + (own_means[r] - mean) * sums[r]; });
  if (reducer.member == 0) {
    const ColumnStatistics<Real> s = column_statistics<Real>(mean, squares, place.length, p.eps);
    const double count = static_cast<double>(place.length);
    const double inverse = 1.0 / sqrt(squares / count + p.eps);
    statistics[reducer.tensor][reducer.column] = s;
    means[reducer.tensor][reducer.column] = {static_cast<Real>(grad / count),
                                             static_cast<Real>(product * inverse / count)};
  }
  __syncthreads();
  if (!place.inside) return;

  for (int k = 0; k < 2; ++k) {
    const ColumnStatistics<Real>* own = statistics[k] + place.lane * kWidth;
    const ColumnStatistics<Real>* guide = statistics[1 - k] + place.lane * kWidth;
    const GradientMeans<Real>* mine = means[k] + place.lane * kWidth;
    const GradientMeans<Real>* guided = means[1 - k] + place.lane * kWidth;
    const std::int64_t start = place.b * p.time * p.width + place.channel;
    Real* d_features = static_cast<Real*>(args.branch[k].d_features) + start;
    Real* d_gamma = p.adain ? nullptr : static_cast<Real*>(args.branch[k].d_gamma) + start;
    for (std::int64_t t = place.row; t < place.length; t += place.step()) {
      Values<Real, kWidth> x[kUnroll], grad_rows[kUnroll], h[kUnroll];
      const int there = load_gradients(args, k, place, t, x, grad_rows, h);
#pragma unroll
      for (int r = 0; r < kUnroll; ++r) {
        if (r >= there) break;
        const std::int64_t at = (t + static_cast<std::int64_t>(r) * place.rows) * p.width;
#pragma unroll
        for (int c = 0; c < kWidth; ++c) {
          const ColumnStatistics<Real>& s = own[c];
          const Real scale = p.adain ? guide[c].sigma : Real(1);
          const Real normalised = cgin_normalise(x[r].v[c], s.mean, s.mean_rest, s.inverse_sigma);
          Real d = cgin_normalise_backward(h[r].v[c] * scale, normalised, mine[c].grad * scale, mine[c].product * scale,
                                           s.inverse_sigma);
          if (p.adain) d += cgin_guide_backward(normalised, guided[c].grad, guided[c].product);
          x[r].v[c] = d;
          grad_rows[r].v[c] *= normalised;
        }
        *reinterpret_cast<Values<Real, kWidth>*>(d_features + at) = x[r];
        if (d_gamma) *reinterpret_cast<Values<Real, kWidth>*>(d_gamma + at) = grad_rows[r];
      }
    }
    for (std::int64_t t = place.length + place.row; t < p.time; t += place.rows) {
      *reinterpret_cast<Values<Real, kWidth>*>(d_features + t * p.width) = Values<Real, kWidth>{};
      if (d_gamma) *reinterpret_cast<Values<Real, kWidth>*>(d_gamma + t * p.width) = Values<Real, kWidth>{};
    }
  }
}

template <typename Real, int kWidth>
void launch(const Context& context, const CginBackwardArgs& args) {
  const Panels panels = cgin_panels<kWidth>(args.problem);
  const dim3 grid(static_cast<unsigned>(panels.count), static_cast<unsigned>(args.problem.batch));
  constexpr int kShared = 2 * sizeof(SharedSums<kWidth>);
  // Above what every device gives unasked.
  cuda_check("cgin_backward", "a block's shared memory",
             cudaFuncSetAttribute(backward<Real, kWidth>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
  launch_kernel("cgin_backward", stream_of(context), backward<Real, kWidth>, {grid, kThreads, kShared}, args,
                panels.lanes);
}

}  // namespace
}  // namespace VQAFAST_ISA

void cgin_backward_cuda(const Context& context, const CginBackwardArgs& args) {
  using namespace VQAFAST_ISA;
  const CginProblem& p = args.problem;
  if (p.batch == 0) return;
  check_grid("cgin_backward", p);
  const DeviceScope scope("cgin_backward", context);
  if (p.dtype == DType::kFloat64) return launch<double, 1>(context, args);
  bool wide = p.width % 4 == 0;
  for (const CginBackwardBranch& branch : args.branch) {
    wide = wide && packed(branch.features, 16, 4) && packed(branch.gamma, 16, 4) && packed(branch.grad, 16, 4) &&
           reinterpret_cast<std::uintptr_t>(branch.d_features) % 16 == 0 &&
           reinterpret_cast<std::uintptr_t>(branch.d_gamma) % 16 == 0;
  }
  wide ? launch<float, 4>(context, args) : launch<float, 1>(context, args);
}

}  // namespace vqafast
