#include "ops/moment_pool/moment_pool.h"

#include "core/dispatch.h"
#include "ops/moment_pool/moment_pool_kernels.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(void moment_pool_cpu(const Context&, const MomentPoolArgs&))

namespace {

constexpr const char* kOp = "moment_pool";
constexpr std::int64_t kPixelsPerChunk = 16384;
constexpr std::int64_t kMaxChunks = 64;
constexpr std::int64_t kEnoughPlanes = 1024;  // as many columns or planes as this fill the threads without chunks

MomentPoolArgs shape_args(const TensorView& x, MapLayout layout) {
  const bool nchw = layout == MapLayout::kNchw;
  const int c = nchw ? 1 : 3, h = nchw ? 2 : 1, w = nchw ? 3 : 2;
  MomentPoolArgs args{};
  args.x = x.as<const char>();
  args.dtype = x.dtype;
  args.images = x.shape[0];
  args.channels = x.shape[c];
  args.height = x.shape[h];
  args.width = x.shape[w];
  args.stride_n = x.stride[0];
  args.stride_c = x.stride[c];
  args.stride_h = x.stride[h];
  args.stride_w = x.stride[w];
  const std::int64_t wanted = (args.height * args.width + kPixelsPerChunk - 1) / kPixelsPerChunk;
  args.chunks = args.images * args.channels >= kEnoughPlanes ? 1 : wanted < kMaxChunks ? wanted : kMaxChunks;
  return args;
}

}  // namespace

void moment_pool_check_x(const TensorView& x) {
  VQAFAST_CHECK(kOp, x.ndim == 4, "x must have 4 dimensions (N, C, H, W) or (N, H, W, C)",
                concat("shape ", shape_text(x)));
  VQAFAST_CHECK(kOp, x.dtype == DType::kFloat32 || x.dtype == DType::kFloat16, "x must be float32 or float16",
                name_of(x.dtype));
  VQAFAST_CHECK(kOp, x.shape[1] >= 1 && x.shape[2] >= 1 && x.shape[3] >= 1, "x must have channels and pixels",
                concat("shape ", shape_text(x)));
}

std::int64_t moment_pool_workspace(const TensorView& x, MapLayout layout) {
  const MomentPoolArgs args = shape_args(x, layout);
  return args.images * args.channels * args.chunks * 2;
}

void moment_pool(const Context& context, const TensorView& x, MapLayout layout, const TensorView& out,
                 double* workspace) {
  moment_pool_check_x(x);
  common_device(kOp, {{"x", &x}, {"out", &out}}, kOpHasCuda);
  MomentPoolArgs args = shape_args(x, layout);
  args.partial = workspace;
  args.out = out.as<float>();
  VQAFAST_SELECT_KERNEL(moment_pool_cpu)(context, args);
}

}  // namespace vqafast
