// Which kernel the strides of the maps select.
#include "ops/moment_pool/moment_pool_cuda_kernels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr const char* kOp = "moment_pool";

template <typename T>
void run_small(const MomentPoolArgs& a, cudaStream_t stream) {
  const int pixels = static_cast<int>(a.x.width), width = Packed<T>::kWidth;
  const int fit = kSpan / static_cast<int>(sizeof(T)) / pixels;
  // Whole 16-byte items, so that every block starts on one; a thread each to write the results.
  const int planes = (fit < kCudaThreads ? fit : kCudaThreads) / width * width;
  int lanes = 1;
  while (lanes < kWarp && lanes * 8 < pixels) lanes *= 2;
  launch_kernel(kOp, stream, pool_small<T>, blocks_of(a.x.images * a.x.channels, planes, kCudaThreads), a, planes,
                lanes);
}

template <typename Item>
void run_planes(MomentPoolArgs* a, cudaStream_t stream) {
  a->chunks = cuda_plane_chunks(a->x);
  const int threads = threads_for(a->x.height * a->x.width / a->chunks, Item::kWidth);
  launch_kernel(kOp, stream, pool_planes<Item>, blocks_of(a->x.images * a->x.channels * a->chunks, 1, threads), *a);
}

template <typename Item>
void run_columns(MomentPoolArgs* a, cudaStream_t stream) {
  const CudaColumns cut = cuda_columns(a->x, Item::kWidth);
  a->chunks = cut.chunks;
  const Blocks blocks = blocks_of(a->x.images * cut.chunks * cut.groups, 1, kCudaThreads);
  launch_kernel(kOp, stream, pool_columns<Item>, blocks, *a, cut);
}

// True if there is a kernel of 16-byte loads for maps of this layout.
template <typename T>
bool run_packed(MomentPoolArgs* a, cudaStream_t stream) {
  if (packed_planes(a->x) && on_16_bytes(a->x.data) && a->x.width * item_size(a->x.dtype) <= kSmallPlane) {
    a->chunks = 1;
    run_small<T>(*a, stream);
  } else if (packed_items(a->x)) {
    run_planes<Packed<T>>(a, stream);
  } else if (packed_channels(a->x)) {
    run_columns<Packed<T>>(a, stream);
  } else {
    return false;
  }
  return true;
}

bool run_packed(MomentPoolArgs* a, cudaStream_t stream) {
  switch (a->x.dtype) {
    case DType::kFloat32: return run_packed<float>(a, stream);
    case DType::kFloat16: return run_packed<__half>(a, stream);
    case DType::kBFloat16: return run_packed<__nv_bfloat16>(a, stream);
    default: return false;
  }
}

template <typename Real>
void run(MomentPoolArgs a, cudaStream_t stream) {
  const std::int64_t across = a.x.stride_c < 0 ? -a.x.stride_c : a.x.stride_c;
  const std::int64_t along = a.x.stride_w < 0 ? -a.x.stride_w : a.x.stride_w;
  if (!run_packed(&a, stream)) {
    const bool columns = a.x.channels > 1 && across < along;
    columns ? run_columns<Single<Real>>(&a, stream) : run_planes<Single<Real>>(&a, stream);
  }
  if (a.chunks == 1) return;
  launch_kernel(kOp, stream, combine_chunks<Real>, blocks_of(a.x.images * a.x.channels, kWarps, kCudaThreads), a);
}

}  // namespace
}  // namespace VQAFAST_ISA

void moment_pool_cuda(const Context& context, const MomentPoolArgs& args);

void moment_pool_cuda(const Context& context, const MomentPoolArgs& args) {
  if (args.x.images == 0) return;
  const DeviceScope scope(VQAFAST_ISA::kOp, context);
  MomentPoolArgs flat = args;
  flat.x = VQAFAST_ISA::flattened(VQAFAST_ISA::kOp, args.x);
  args.x.dtype == DType::kFloat64 ? VQAFAST_ISA::run<double>(flat, stream_of(context))
                                  : VQAFAST_ISA::run<float>(flat, stream_of(context));
}

}  // namespace vqafast
