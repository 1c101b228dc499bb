#include "core/context.h"
#include "core/parallel.h"
#include "ops/cgin/cgin_panel.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

template <typename Real>
struct Buffers {
  static constexpr int kSize = kBlock * kPanel<Real>;
  Real x[kSize], gamma[kSize], theta[kSize];
};

template <typename Real>
void modulate(const CginArgs& args, int k, const Panel& panel, const Statistics<Real>* statistics,
              Buffers<Real>* buffers) {
  const CginProblem& p = args.problem;
  const CginBranch& branch = args.branch[k];
  const std::int64_t length = cgin_length(p, panel.b), pitch = 2 * p.width;
  const Vec<Real> gamma_1 = splat(static_cast<Real>(p.gamma_1));
  Real* out = static_cast<Real*>(args.out) + panel.b * p.time * pitch + k * p.width + panel.first;
  Rows<Real> gamma{statistics[1 - k].sigma, 0}, theta{statistics[1 - k].mean, 0};
  for (std::int64_t t = 0; t < length; t += kBlock) {
    const std::int64_t rows = block_rows(t, length);
    const Rows<Real> x = rows_of(branch.features, panel, t, rows, buffers->x);
    if (!p.adain) {
      gamma = rows_of(branch.gamma, panel, t, rows, buffers->gamma);
      theta = rows_of(branch.theta, panel, t, rows, buffers->theta);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int c = 0; c < panel.width; c += kLanesOf<Real>) {
        const Vec<Real> value =
            cgin_modulate(normalised(x, r, c, statistics[k]), load(gamma.data + r * gamma.pitch + c),
                          load(theta.data + r * theta.pitch + c), gamma_1);
        store_lanes(value, panel.columns - c, out + (t + r) * pitch + c);
      }
    }
  }
  for (std::int64_t t = length; t < p.time; ++t)
    for (int c = 0; c < panel.columns; ++c) out[t * pitch + c] = 0;
}

template <typename Real>
void run(const Context& context, const CginArgs& args) {
  parallel_for(context.threads, panel_count<Real>(args.problem), 1, [&](std::int64_t begin, std::int64_t end) {
    Buffers<Real> buffers;
    Statistics<Real> statistics[2];
    for (std::int64_t item = begin; item < end; ++item) {
      const Panel panel = panel_at<Real>(args.problem, item);
      const std::int64_t length = cgin_length(args.problem, panel.b);
      for (int k = 0; k < 2; ++k)
        measure(args.branch[k].features, panel, length, args.problem.eps, buffers.x, &statistics[k]);
      for (int k = 0; k < 2; ++k) modulate(args, k, panel, statistics, &buffers);
    }
  });
}

}  // namespace

void cgin_cpu(const Context& context, const CginArgs& args);

void cgin_cpu(const Context& context, const CginArgs& args) {
  args.problem.dtype == DType::kFloat64 ? run<double>(context, args) : run<float>(context, args);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
