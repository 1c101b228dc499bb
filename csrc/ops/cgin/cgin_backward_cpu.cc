#include "core/context.h"
#include "core/parallel.h"
#include "ops/cgin/cgin_panel.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

// Means over time of the gradient of the normalised values, and of its product with them. In adain, where gamma is one
// number per channel, before it is multiplied in.
template <typename Real>
struct GradientMeans {
  Real grad[kPanel<Real>], product[kPanel<Real>];
};

template <typename Real>
struct Buffers {
  static constexpr int kSize = kBlock * kPanel<Real>;
  Real x[kSize], gamma[kSize], grad[kSize];
};

template <typename Real>
void average(const CginBackwardArgs& args, int k, const Panel& panel, const Statistics<Real>& statistics,
             Buffers<Real>* buffers, GradientMeans<Real>* means) {
  constexpr int kSize = kPanel<Real>;
  static constexpr Real kZeros[kSize] = {};
  const CginBackwardBranch& branch = args.branch[k];
  const bool adain = args.problem.adain;
  const std::int64_t length = cgin_length(args.problem, panel.b);
  const Vec<Real> gamma_1 = splat(adain ? Real(1) : static_cast<Real>(args.problem.gamma_1));
  double sums[kSize] = {}, products[kSize] = {};
  Rows<Real> gamma{kZeros, 0};
  for (std::int64_t t = 0; t < length; t += kBlock) {
    const std::int64_t rows = block_rows(t, length);
    const Rows<Real> x = rows_of(branch.features, panel, t, rows, buffers->x);
    const Rows<Real> grad = rows_of(branch.grad, panel, t, rows, buffers->grad);
    if (!adain) gamma = rows_of(branch.gamma, panel, t, rows, buffers->gamma);
    Real sum[kSize] = {}, product[kSize] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int c = 0; c < panel.width; c += kLanesOf<Real>) {
        const Vec<Real> h = cgin_modulate_backward(load(grad.data + r * grad.pitch + c),
                                                   load(gamma.data + r * gamma.pitch + c), gamma_1);
        store(load(sum + c) + h, sum + c);
        store(load(product + c) + h * normalised(x, r, c, statistics), product + c);
      }
    }
    for (int c = 0; c < panel.width; ++c) {
      sums[c] += static_cast<double>(sum[c]);
      products[c] += static_cast<double>(product[c]);
    }
  }
  for (int c = 0; c < panel.width; ++c) {
    means->grad[c] = static_cast<Real>(sums[c] / static_cast<double>(length));
    means->product[c] = static_cast<Real>(products[c] / static_cast<double>(length));
  }
}

template <typename Real>
void differentiate(const CginBackwardArgs& args, int k, const Panel& panel, const Statistics<Real>* statistics,
                   const GradientMeans<Real>* means, Buffers<Real>* buffers) {
  const CginProblem& p = args.problem;
  const CginBackwardBranch& branch = args.branch[k];
  const Statistics<Real>&own = statistics[k], &guide = statistics[1 - k];
  const GradientMeans<Real>& guided = means[1 - k];
  const std::int64_t length = cgin_length(p, panel.b), start = panel.b * p.time * p.width + panel.first;
  Real* d_features = static_cast<Real*>(branch.d_features) + start;
  Real* d_gamma = p.adain ? nullptr : static_cast<Real*>(branch.d_gamma) + start;
  const Vec<Real> gamma_1 = splat(static_cast<Real>(p.gamma_1));

  Real mean_grad[kPanel<Real>], mean_product[kPanel<Real>];
  for (int c = 0; c < panel.width; ++c) {
    const Real scale = p.adain ? guide.sigma[c] : 1;
    mean_grad[c] = means[k].grad[c] * scale;
    mean_product[c] = means[k].product[c] * scale;
  }
  Rows<Real> gamma{guide.sigma, 0};
  for (std::int64_t t = 0; t < length; t += kBlock) {
    const std::int64_t rows = block_rows(t, length);
    const Rows<Real> x = rows_of(branch.features, panel, t, rows, buffers->x);
    const Rows<Real> grad = rows_of(branch.grad, panel, t, rows, buffers->grad);
    if (!p.adain) gamma = rows_of(branch.gamma, panel, t, rows, buffers->gamma);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (int c = 0; c < panel.width; c += kLanesOf<Real>) {
        const std::int64_t at = (t + r) * p.width + c;
        const Vec<Real> g = load(grad.data + r * grad.pitch + c), xn = normalised(x, r, c, own);
        const Vec<Real> h = cgin_modulate_backward(g, load(gamma.data + r * gamma.pitch + c), gamma_1);
        Vec<Real> d =
            cgin_normalise_backward(h, xn, load(mean_grad + c), load(mean_product + c), load(own.inverse_sigma + c));
        if (p.adain)
          d += cgin_guide_backward(xn, load(guided.grad + c), load(guided.product + c));
        else
          store_lanes(g * xn, panel.columns - c, d_gamma + at);
        store_lanes(d, panel.columns - c, d_features + at);
      }
    }
  }
  for (std::int64_t t = length; t < p.time; ++t) {
    for (int c = 0; c < panel.columns; ++c) {
      d_features[t * p.width + c] = 0;
      if (d_gamma) d_gamma[t * p.width + c] = 0;
    }
  }
}

template <typename Real>
void run(const Context& context, const CginBackwardArgs& args) {
  parallel_for(context.threads, panel_count<Real>(args.problem), 1, [&](std::int64_t begin, std::int64_t end) {
    Buffers<Real> buffers;
    Statistics<Real> statistics[2] = {};
    GradientMeans<Real> means[2] = {};
    for (std::int64_t item = begin; item < end; ++item) {
      const Panel panel = panel_at<Real>(args.problem, item);
      const std::int64_t length = cgin_length(args.problem, panel.b);
      for (int k = 0; k < 2; ++k) {
        measure(args.branch[k].features, panel, length, args.problem.eps, buffers.x, &statistics[k]);
        average(args, k, panel, statistics[k], &buffers, &means[k]);
        // At once, while the rows are in the cache; adain needs the means of both directions.
        if (!args.problem.adain) differentiate(args, k, panel, statistics, means, &buffers);
      }
      for (int k = 0; k < 2 && args.problem.adain; ++k) differentiate(args, k, panel, statistics, means, &buffers);
    }
  });
}

}  // namespace

void cgin_backward_cpu(const Context& context, const CginBackwardArgs& args);

void cgin_backward_cpu(const Context& context, const CginBackwardArgs& args) {
  args.problem.dtype == DType::kFloat64 ? run<double>(context, args) : run<float>(context, args);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
