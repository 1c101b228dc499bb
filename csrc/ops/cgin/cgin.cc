#include "ops/cgin/cgin.h"

#include <cmath>

#include "core/dispatch.h"
#include "ops/cgin/cgin_kernels.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void cgin_cpu(const Context&, const CginArgs&))
VQAFAST_DECLARE_KERNEL(void cgin_backward_cpu(const Context&, const CginBackwardArgs&))
VQAFAST_DECLARE_CUDA(void cgin_cuda(const Context&, const CginArgs&))
VQAFAST_DECLARE_CUDA(void cgin_backward_cuda(const Context&, const CginBackwardArgs&))

namespace {

constexpr const char* kOp = "cgin";
constexpr const char* kBackward = "cgin_backward";

CginTensor strided(const TensorView* t) {
  if (!t) return {};
  return {t->as<const char>(), t->stride[0], t->stride[1], t->stride[2]};
}

void check_like_x(const char* op, const char* name, const TensorView& t, const TensorView& x) {
  check_same_shape(op, name, t, "x", x);
  check_dtype(op, name, t, x.dtype);
}

void check_modulation(const char* op, const NamedTensor& item, const TensorView& x, CginMode mode) {
  const bool adain = mode == CginMode::kAdain;
  VQAFAST_CHECK(
      op, (item.tensor == nullptr) == adain,
      concat(item.name, adain ? " must be None in mode 'adain'" : " must be given in modes 'cgin' and 'fgin'"),
      item.tensor ? "a tensor" : "None");
  if (item.tensor) check_like_x(op, item.name, *item.tensor, x);
}

CginProblem checked_problem(const char* op, const TensorView& x, const TensorView* lengths,
                            const CginOptions& options) {
  VQAFAST_CHECK(op, std::isfinite(options.eps) && options.eps > 0, "eps must be positive", options.eps);
  if (lengths) check_lengths(op, *lengths, x.shape[0], x.shape[1]);
  CginProblem problem{};
  problem.dtype = x.dtype;
  problem.lengths = lengths ? lengths->as<const char>() : nullptr;
  problem.lengths_stride = lengths ? lengths->stride[0] : 0;
  problem.batch = x.shape[0];
  problem.time = x.shape[1];
  problem.width = x.shape[2];
  problem.gamma_1 = options.mode == CginMode::kCgin ? 1.0 : 0.0;
  problem.adain = options.mode == CginMode::kAdain;
  problem.eps = options.eps;
  return problem;
}

}  // namespace

void cgin_check_x(const char* op, const TensorView& x) {
  check_ndim(op, "x", x, 3, "(B, T, D)");
  VQAFAST_CHECK(op, x.dtype == DType::kFloat32 || x.dtype == DType::kFloat64, "x must be float32 or float64",
                name_of(x.dtype));
  VQAFAST_CHECK(op, x.shape[1] >= 1 && x.shape[2] >= 1, "x must have at least one time step and one channel",
                concat("shape ", shape_text(x)));
}

void cgin(const Context& context, const TensorView& x, const TensorView& y, const TensorView* gamma_x,
          const TensorView* theta_x, const TensorView* gamma_y, const TensorView* theta_y, const TensorView* lengths,
          const CginOptions& options, const TensorView& out) {
  cgin_check_x(kOp, x);
  check_like_x(kOp, "y", y, x);
  const NamedTensor modulation[] = {
      {"gamma_x", gamma_x}, {"theta_x", theta_x}, {"gamma_y", gamma_y}, {"theta_y", theta_y}};
  for (const NamedTensor& item : modulation) check_modulation(kOp, item, x, options.mode);
  CginArgs args{};
  args.problem = checked_problem(kOp, x, lengths, options);
  const Device device = common_device(kOp,
                                      {{"x", &x},
                                       {"y", &y},
                                       modulation[0],
                                       modulation[1],
                                       modulation[2],
                                       modulation[3],
                                       {"lengths", lengths},
                                       {"out", &out}},
                                      kOpHasCuda);
  args.branch[0] = {strided(&x), strided(gamma_x), strided(theta_x)};
  args.branch[1] = {strided(&y), strided(gamma_y), strided(theta_y)};
  args.out = out.data;
  VQAFAST_RUN(cgin, device, context, args);
}

void cgin_backward(const Context& context, const TensorView& grad, const TensorView& x, const TensorView& y,
                   const TensorView* gamma_x, const TensorView* gamma_y, const TensorView* lengths,
                   const CginOptions& options, const CginGradients& out) {
  cgin_check_x(kBackward, x);
  check_like_x(kBackward, "y", y, x);
  const NamedTensor modulation[] = {{"gamma_x", gamma_x}, {"gamma_y", gamma_y}};
  for (const NamedTensor& item : modulation) check_modulation(kBackward, item, x, options.mode);
  TensorView pair = x;
  pair.shape[2] *= 2;
  VQAFAST_CHECK(kBackward,
                grad.ndim == 3 && grad.shape[0] == pair.shape[0] && grad.shape[1] == pair.shape[1] &&
                    grad.shape[2] == pair.shape[2],
                concat("grad must have shape ", shape_text(pair)), concat("shape ", shape_text(grad)));
  check_dtype(kBackward, "grad", grad, x.dtype);
  CginBackwardArgs args{};
  args.problem = checked_problem(kBackward, x, lengths, options);
  const Device device = common_device(kBackward,
                                      {{"grad", &grad},
                                       {"x", &x},
                                       {"y", &y},
                                       modulation[0],
                                       modulation[1],
                                       {"lengths", lengths},
                                       {"d_x", out.d_x},
                                       {"d_y", out.d_y},
                                       {"d_gamma_x", out.d_gamma_x},
                                       {"d_gamma_y", out.d_gamma_y}},
                                      kOpHasCuda);
  CginTensor halves[2] = {strided(&grad), strided(&grad)};
  halves[1].data += x.shape[2] * halves[1].stride_d;
  const auto data = [](const TensorView* t) { return t ? t->data : nullptr; };
  args.branch[0] = {strided(&x), strided(gamma_x), halves[0], data(out.d_x), data(out.d_gamma_x)};
  args.branch[1] = {strided(&y), strided(gamma_y), halves[1], data(out.d_y), data(out.d_gamma_y)};
  VQAFAST_RUN(cgin_backward, device, context, args);
}

}  // namespace vqafast
