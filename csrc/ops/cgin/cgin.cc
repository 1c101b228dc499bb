#include "ops/cgin/cgin.h"

#include <cmath>

#include "core/dispatch.h"
#include "ops/cgin/cgin_kernels.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void cgin_cpu(const Context&, const CginArgs&))

namespace {

constexpr const char* kOp = "cgin";

CginTensor strided(const TensorView* t) {
  if (!t) return {};
  return {t->as<const char>(), t->stride[0], t->stride[1], t->stride[2]};
}

}  // namespace

void cgin_check_x(const TensorView& x) {
  check_ndim(kOp, "x", x, 3, "(B, T, D)");
  check_dtype(kOp, "x", x, DType::kFloat32);
  VQAFAST_CHECK(kOp, x.shape[1] >= 1 && x.shape[2] >= 1, "x must have at least one time step and one channel",
                concat("shape ", shape_text(x)));
}

void cgin(const Context& context, const TensorView& x, const TensorView& y, const TensorView* gamma_x,
          const TensorView* theta_x, const TensorView* gamma_y, const TensorView* theta_y, const TensorView* lengths,
          const CginOptions& options, const TensorView& out) {
  cgin_check_x(x);
  check_same_shape(kOp, "y", y, "x", x);
  check_dtype(kOp, "y", y, DType::kFloat32);
  const bool adain = options.mode == CginMode::kAdain;
  const NamedTensor modulation[] = {
      {"gamma_x", gamma_x}, {"theta_x", theta_x}, {"gamma_y", gamma_y}, {"theta_y", theta_y}};
  for (const NamedTensor& item : modulation) {
    VQAFAST_CHECK(
        kOp, (item.tensor == nullptr) == adain,
        concat(item.name, adain ? " must be None in mode 'adain'" : " must be given in modes 'cgin' and 'fgin'"),
        item.tensor ? "a tensor" : "None");
    if (!item.tensor) continue;
    check_same_shape(kOp, item.name, *item.tensor, "x", x);
    check_dtype(kOp, item.name, *item.tensor, DType::kFloat32);
  }
  VQAFAST_CHECK(kOp, std::isfinite(options.eps) && options.eps > 0, "eps must be positive", options.eps);
  if (lengths) check_lengths(kOp, *lengths, x.shape[0], x.shape[1]);
  common_device(kOp,
                {{"x", &x},
                 {"y", &y},
                 modulation[0],
                 modulation[1],
                 modulation[2],
                 modulation[3],
                 {"lengths", lengths},
                 {"out", &out}},
                kOpHasCuda);

  CginArgs args{};
  args.branch[0] = {strided(&x), strided(gamma_x), strided(theta_x)};
  args.branch[1] = {strided(&y), strided(gamma_y), strided(theta_y)};
  args.lengths = lengths ? lengths->as<const char>() : nullptr;
  args.lengths_stride = lengths ? lengths->stride[0] : 0;
  args.out = out.as<float>();
  args.batch = x.shape[0];
  args.time = x.shape[1];
  args.width = x.shape[2];
  args.gamma_1 = options.mode == CginMode::kCgin ? 1.0f : 0.0f;
  args.adain = adain;
  args.eps = options.eps;
  VQAFAST_SELECT_KERNEL(cgin_cpu)(context, args);
}

}  // namespace vqafast
