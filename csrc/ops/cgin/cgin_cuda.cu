#include "ops/cgin/cgin_columns.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

template <typename Real, int kWidth>
__global__ void __launch_bounds__(kThreads) forward(const __grid_constant__ CginArgs args, int lanes) {
  __shared__ SharedSums<kWidth> shared;
  __shared__ ColumnStatistics<Real> statistics[2][kThreads];  // by channel of the panel
  const CginProblem& p = args.problem;
  const Place<kWidth> place(p, lanes);

  for (int k = 0; k < 2; ++k) {
    ColumnSums<Real> sums[kWidth];
    if (place.inside) {
      const Column<Real, kWidth> features(args.branch[k].features, place.b, place.channel);
      for (std::int64_t t = place.row; t < place.length; t += place.step()) {
        Values<Real, kWidth> x[kUnroll];
        const int there = load_rows(features, t, place.rows, place.length, x);
#pragma unroll
        for (int c = 0; c < kWidth; ++c) sums[c].add(x, c, there);
      }
    }
    store_sums(place, sums, shared.mean[k], shared.squares[k]);
  }
  __syncthreads();
  const Reducer<kWidth> reducer(lanes);
  double mean, squares;
  combine(shared, reducer, place.length, &mean, &squares);
  if (reducer.member == 0)
    statistics[reducer.tensor][reducer.column] = column_statistics<Real>(mean, squares, place.length, p.eps);
  __syncthreads();
  if (!place.inside) return;

  const Real gamma_1 = static_cast<Real>(p.gamma_1);
  const std::int64_t pitch = 2 * p.width;
  for (int k = 0; k < 2; ++k) {
    const CginBranch& branch = args.branch[k];
    const Column<Real, kWidth> features(branch.features, place.b, place.channel);
    const Column<Real, kWidth> gammas(branch.gamma, place.b, place.channel);
    const Column<Real, kWidth> thetas(branch.theta, place.b, place.channel);
    const ColumnStatistics<Real>* own = statistics[k] + place.lane * kWidth;
    const ColumnStatistics<Real>* guide = statistics[1 - k] + place.lane * kWidth;
    Real* out = static_cast<Real*>(args.out) + place.b * p.time * pitch + k * p.width + place.channel;
    for (std::int64_t t = place.row; t < place.length; t += place.step()) {
      Values<Real, kWidth> x[kUnroll], gamma[kUnroll], theta[kUnroll];
      const int there = load_rows(features, t, place.rows, place.length, x);
      if (!p.adain) {
        load_rows(gammas, t, place.rows, place.length, gamma);
        load_rows(thetas, t, place.rows, place.length, theta);
      }
#pragma unroll
      for (int r = 0; r < kUnroll; ++r) {
        if (r >= there) break;
#pragma unroll
        for (int c = 0; c < kWidth; ++c) {
          const ColumnStatistics<Real>& s = own[c];
          const Real normalised = cgin_normalise(x[r].v[c], s.mean, s.mean_rest, s.inverse_sigma);
          const Real scale = p.adain ? guide[c].sigma : gamma[r].v[c], shift = p.adain ? guide[c].mean : theta[r].v[c];
          x[r].v[c] = cgin_modulate(normalised, scale, shift, gamma_1);
        }
        *reinterpret_cast<Values<Real, kWidth>*>(out + (t + static_cast<std::int64_t>(r) * place.rows) * pitch) = x[r];
      }
    }
    for (std::int64_t t = place.length + place.row; t < p.time; t += place.rows)
      *reinterpret_cast<Values<Real, kWidth>*>(out + t * pitch) = Values<Real, kWidth>{};
  }
}

template <typename Real, int kWidth>
void launch(const Context& context, const CginArgs& args) {
  const Panels panels = cgin_panels<kWidth>(args.problem);
  const dim3 grid(static_cast<unsigned>(panels.count), static_cast<unsigned>(args.problem.batch));
  launch_kernel("cgin", stream_of(context), forward<Real, kWidth>, {grid, kThreads}, args, panels.lanes);
}

}  // namespace
}  // namespace VQAFAST_ISA

void cgin_cuda(const Context& context, const CginArgs& args) {
  using namespace VQAFAST_ISA;
  const CginProblem& p = args.problem;
  if (p.batch == 0) return;
  check_grid("cgin", p);
  const DeviceScope scope("cgin", context);
  if (p.dtype == DType::kFloat64) return launch<double, 1>(context, args);
  bool wide = p.width % 4 == 0 && reinterpret_cast<std::uintptr_t>(args.out) % 16 == 0;
  for (const CginBranch& branch : args.branch)
    wide = wide && packed(branch.features, 16, 4) && packed(branch.gamma, 16, 4) && packed(branch.theta, 16, 4);
  wide ? launch<float, 4>(context, args) : launch<float, 1>(context, args);
}

}  // namespace vqafast
