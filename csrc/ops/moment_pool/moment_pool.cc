#include "ops/moment_pool/moment_pool.h"

#include "core/dispatch.h"
#include "ops/moment_pool/moment_pool_kernels.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void moment_pool_cpu(const Context&, const MomentPoolArgs&))
VQAFAST_DECLARE_KERNEL(void moment_pool_backward_cpu(const Context&, const MomentPoolBackwardArgs&))
VQAFAST_DECLARE_CUDA(void moment_pool_cuda(const Context&, const MomentPoolArgs&))
VQAFAST_DECLARE_CUDA(void moment_pool_backward_cuda(const Context&, const MomentPoolBackwardArgs&))

namespace {

constexpr const char* kOp = "moment_pool";
constexpr const char* kBackward = "moment_pool_backward";
constexpr std::int64_t kPixelsPerChunk = 16384;
constexpr std::int64_t kMaxChunks = 64;
constexpr std::int64_t kEnoughPlanes = 1024;  // as many columns or planes as this fill the threads without chunks

MomentPoolMaps maps_of(const TensorView& x, MapLayout layout) {
  const bool nchw = layout == MapLayout::kNchw;
  const int c = nchw ? 1 : 3, h = nchw ? 2 : 1, w = nchw ? 3 : 2;
  return {x.as<const char>(), x.dtype,     x.shape[0],  x.shape[c],  x.shape[h],
          x.shape[w],         x.stride[0], x.stride[c], x.stride[h], x.stride[w]};
}

MomentPoolArgs shape_args(const TensorView& x, MapLayout layout) {
  MomentPoolArgs args{};
  args.x = maps_of(x, layout);
  if (x.device == DeviceType::kCuda) {
    args.chunks = cuda_most_chunks(args.x);
    return args;
  }
  const std::int64_t wanted = (args.x.height * args.x.width + kPixelsPerChunk - 1) / kPixelsPerChunk;
  args.chunks = args.x.images * args.x.channels >= kEnoughPlanes ? 1 : wanted < kMaxChunks ? wanted : kMaxChunks;
  return args;
}

void check_workspace(const TensorView* workspace, std::int64_t wanted) {
  if (!workspace && wanted == 0) return;
  const auto must = [&] {
    return concat("workspace must be a contiguous float64 tensor of at least ", wanted, " elements");
  };
  VQAFAST_CHECK(kOp, workspace, must(), "none");
  VQAFAST_CHECK(kOp, workspace->dtype == DType::kFloat64, must(), name_of(workspace->dtype));
  VQAFAST_CHECK(kOp, is_contiguous(*workspace), must(), "a strided tensor");
  VQAFAST_CHECK(kOp, element_count(*workspace) >= wanted, must(), concat("shape ", shape_text(*workspace)));
}

void check_moments(const char* name, const TensorView& t, const TensorView& x, const MomentPoolMaps& maps) {
  VQAFAST_CHECK(kBackward, t.ndim == 2 && t.shape[0] == maps.images && t.shape[1] == 2 * maps.channels,
                concat(name, " must have shape (", maps.images, ", ", 2 * maps.channels, ")"),
                concat("shape ", shape_text(t)));
  check_dtype(kBackward, name, t, moment_pool_result(x));
}

}  // namespace

void moment_pool_check_x(const char* op, const TensorView& x) {
  VQAFAST_CHECK(op, x.ndim == 4, "x must have 4 dimensions (N, C, H, W) or (N, H, W, C)",
                concat("shape ", shape_text(x)));
  const bool floating = x.dtype == DType::kFloat32 || x.dtype == DType::kFloat16 || x.dtype == DType::kBFloat16 ||
                        x.dtype == DType::kFloat64;
  VQAFAST_CHECK(op, floating, "x must be float32, float16, bfloat16 or float64", name_of(x.dtype));
  VQAFAST_CHECK(op, x.shape[1] >= 1 && x.shape[2] >= 1 && x.shape[3] >= 1, "x must have channels and pixels",
                concat("shape ", shape_text(x)));
}

DType moment_pool_result(const TensorView& x) { return x.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

std::int64_t moment_pool_workspace(const TensorView& x, MapLayout layout) {
  const MomentPoolArgs args = shape_args(x, layout);
  // A CUDA kernel with one chunk writes the result itself.
  const bool unused = x.device == DeviceType::kCuda && args.chunks == 1;
  return unused ? 0 : args.x.images * args.x.channels * args.chunks * 2;
}

void moment_pool(const Context& context, const TensorView& x, MapLayout layout, const TensorView& out,
                 const TensorView* workspace) {
  moment_pool_check_x(kOp, x);
  const Device device = common_device(kOp, {{"x", &x}, {"out", &out}, {"workspace", workspace}}, kOpHasCuda);
  check_workspace(workspace, moment_pool_workspace(x, layout));
  MomentPoolArgs args = shape_args(x, layout);
  args.partial = workspace ? workspace->as<double>() : nullptr;
  args.out = out.data;
  VQAFAST_RUN(moment_pool, device, context, args);
}

void moment_pool_backward(const Context& context, const TensorView& grad, const TensorView& x,
                          const TensorView& moments, MapLayout layout, const TensorView& d_x) {
  moment_pool_check_x(kBackward, x);
  MomentPoolBackwardArgs args{};
  args.x = maps_of(x, layout);
  check_moments("grad", grad, x, args.x);
  check_moments("moments", moments, x, args.x);
  const Device device =
      common_device(kBackward, {{"x", &x}, {"grad", &grad}, {"moments", &moments}, {"d_x", &d_x}}, kOpHasCuda);
  args.grad = grad.as<const char>();
  args.grad_stride_n = grad.stride[0];
  args.grad_stride_c = grad.stride[1];
  args.moments = moments.as<const char>();
  args.moments_stride_n = moments.stride[0];
  args.moments_stride_c = moments.stride[1];
  args.d_x = d_x.as<char>();
  args.channels_last = layout == MapLayout::kNhwc;
  VQAFAST_RUN(moment_pool_backward, device, context, args);
}

}  // namespace vqafast
