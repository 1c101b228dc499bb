// Elementwise, once the slope of each channel is known: every element is read once and written once.
#include "ops/moment_pool/moment_pool_cuda.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr const char* kOp = "moment_pool_backward";
constexpr int kMostPlanes = kCudaThreads + 1;  // that a block of differentiate_packed touches
constexpr int kPixelsPerThread = 32;           // at most, of a column: enough to make a slope cheap

template <typename Real>
__device__ inline Real gradient(Real x, const MomentSlope<Real>& s) {
  return moment_gradient(x, s.mean, s.inverse_sigma, s.base, s.share);
}

template <typename Real>
__device__ inline MomentSlope<Real> plane_slope(const MomentPoolBackwardArgs& a, std::int64_t plane) {
  const std::int64_t n = plane / a.x.channels;
  return moment_slope<Real>(a, n, plane - n * a.x.channels);
}

// Maps without gaps, planes of any size: a block for `range` elements, wherever planes begin and end.
template <typename T>
__global__ void __launch_bounds__(kCudaThreads) differentiate_packed(const MomentPoolBackwardArgs a, int range) {
  using Item = Packed<T>;
  constexpr int kWidth = Item::kWidth, kSize = static_cast<int>(sizeof(T));
  __shared__ MomentSlope<float> slopes[kMostPlanes];
  const int thread = threadIdx.x;
  const std::int64_t pixels = a.x.width, all = a.x.images * a.x.channels * pixels;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * range;
  const int count = all - begin < range ? static_cast<int>(all - begin) : range, items = count / kWidth;
  const char* from = a.x.data + begin * kSize;
  char* to = a.d_x + begin * kSize;
  typename Item::Raw raw[kFlight];
#pragma unroll
  for (int u = 0; u < kFlight; ++u) {
    const int i = thread + u * kCudaThreads;
    if (i < items) raw[u] = Item::read(from + i * 16, a.x.dtype);
  }
  const std::int64_t first_plane = begin / pixels, skipped = begin - first_plane * pixels;
  const int planes = static_cast<int>((skipped + count - 1) / pixels) + 1;
  for (int plane = thread; plane < planes; plane += kCudaThreads)
    slopes[plane] = plane_slope<float>(a, first_plane + plane);
  __syncthreads();
#pragma unroll
  for (int u = 0; u < kFlight; ++u) {
    const int i = thread + u * kCudaThreads;
    if (i >= items) continue;
    const std::int64_t place = skipped + i * kWidth;
    int plane = planes == 1 ? 0 : static_cast<int>(place / pixels);
    std::int64_t left = (plane + 1) * pixels - place;  // of the plane
    MomentSlope<float> slope = slopes[plane];
    float values[kWidth];
    Item::unpack(raw[u], values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (left == 0) {
        slope = slopes[++plane];
        left = pixels;
      }
      --left;
      values[j] = gradient(values[j], slope);
    }
    Item::write(values, a.x.dtype, to + i * 16);
  }
  for (int i = items * kWidth + thread; i < count; i += kCudaThreads) {
    const float value = gradient(to_float(reinterpret_cast<const T*>(from)[i]), slopes[(skipped + i) / pixels]);
    from_float(value, reinterpret_cast<T*>(to) + i);
  }
}

// Channels next to each other in d_x: a thread keeps the slopes of its own. See cuda_columns.
template <typename Item>
__global__ void __launch_bounds__(kCudaThreads)
    differentiate_columns(const MomentPoolBackwardArgs a, const CudaColumns cut) {
  using Real = typename Item::Real;
  constexpr int kWidth = Item::kWidth;
  __shared__ MomentSlope<Real> slopes[kWarp * kWidth];
  const ColumnPlace at = column_place(a.x, cut, kWidth);
  const int thread = threadIdx.x;
  if (thread < cut.lanes * kWidth && at.first + thread < a.x.channels)
    slopes[thread] = moment_slope<Real>(a, at.n, at.first + thread);
  __syncthreads();
  if (at.channel >= a.x.channels) return;
  MomentSlope<Real> slope[kWidth];
#pragma unroll
  for (int j = 0; j < kWidth; ++j) slope[j] = slopes[at.column * kWidth + j];

  const std::int64_t size = a.x.dtype == DType::kFloat64 ? 8 : a.x.dtype == DType::kFloat32 ? 4 : 2;
  const char* base = a.x.data + at.n * a.x.stride_n + at.channel * a.x.stride_c;
  char* to = a.d_x + (at.n * a.x.height * a.x.width * a.x.channels + at.channel) * size;
  const auto item = [&](std::int64_t p) { return Item::read(base + pixel_offset(a.x, p), a.x.dtype); };
  const auto write = [&](std::int64_t p, const typename Item::Raw& raw) {
    Real values[kWidth];
    Item::unpack(raw, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) values[j] = gradient(values[j], slope[j]);
    Item::write(values, a.x.dtype, to + p * a.x.channels * size);
  };
  std::int64_t p = at.stretch_begin + at.row;
  for (; p + (kFlight - 1) * at.rows < at.stretch_end; p += kFlight * at.rows) {
    typename Item::Raw raw[kFlight];
#pragma unroll
    for (int u = 0; u < kFlight; ++u) raw[u] = item(p + u * at.rows);
#pragma unroll
    for (int u = 0; u < kFlight; ++u) write(p + u * at.rows, raw[u]);
  }
  for (; p < at.stretch_end; p += at.rows) write(p, item(p));
}

// Any strides, pixels next to each other in d_x: a block for a part of one plane.
template <typename Real>
__global__ void __launch_bounds__(kCudaThreads) differentiate_planes(const MomentPoolBackwardArgs a, unsigned parts) {
  using Item = Single<Real>;
  __shared__ MomentSlope<Real> shared;
  const unsigned plane = blockIdx.x / parts, part = blockIdx.x % parts;
  const unsigned channels = static_cast<unsigned>(a.x.channels), n = plane / channels, c = plane % channels;
  const std::int64_t pixels = a.x.height * a.x.width;
  if (threadIdx.x == 0) shared = moment_slope<Real>(a, n, c);
  __syncthreads();
  const MomentSlope<Real> slope = shared;
  const std::int64_t size = a.x.dtype == DType::kFloat64 ? 8 : a.x.dtype == DType::kFloat32 ? 4 : 2;
  const char* base = a.x.data + n * a.x.stride_n + c * a.x.stride_c;
  char* to = a.d_x + plane * pixels * size;
  const std::int64_t end = chunk_begin(pixels, parts, part + 1);
#pragma unroll 4
  for (std::int64_t p = chunk_begin(pixels, parts, part) + threadIdx.x; p < end; p += blockDim.x) {
    const Real value = gradient(Item::read_one(base + pixel_offset(a.x, p), a.x.dtype), slope);
    Item::write(&value, a.x.dtype, to + p * size);
  }
}

template <typename Item>
void run_columns(const MomentPoolBackwardArgs& a, cudaStream_t stream) {
  CudaColumns cut = cuda_columns(a.x, Item::kWidth);
  const std::int64_t rows = kCudaThreads / cut.lanes, least = ceil_div(a.x.width * a.x.height, rows * kPixelsPerThread);
  if (cut.chunks < least) cut.chunks = least;
  const Blocks blocks = blocks_of(a.x.images * cut.chunks * cut.groups, 1, kCudaThreads);
  launch_kernel(kOp, stream, differentiate_columns<Item>, blocks, a, cut);
}

template <typename Real>
void run_planes(const MomentPoolBackwardArgs& a, cudaStream_t stream) {
  const std::int64_t pixels = a.x.height * a.x.width;
  const int parts = ceil_div(pixels, kCudaThreads * kPixelsPerThread), threads = threads_for(pixels / parts, 1);
  launch_kernel(kOp, stream, differentiate_planes<Real>, blocks_of(a.x.images * a.x.channels * parts, 1, threads), a,
                static_cast<unsigned>(parts));
}

// True if there is a kernel of 16-byte loads for maps of this layout.
template <typename T>
bool run_packed(const MomentPoolBackwardArgs& a, cudaStream_t stream) {
  constexpr int kWidth = Packed<T>::kWidth;
  if (!on_16_bytes(a.x.data) || !on_16_bytes(a.d_x)) return false;
  if (a.channels_last) {
    if (!packed_channels(a.x)) return false;
    run_columns<Packed<T>>(a, stream);
    return true;
  }
  if (!packed_planes(a.x)) return false;
  std::int64_t range = kFlight * kCudaThreads * kWidth;
  if (range > kCudaThreads * a.x.width) range = kCudaThreads * a.x.width;  // its slopes fit into kMostPlanes
  const Blocks blocks = blocks_of(a.x.images * a.x.channels * a.x.width, range, kCudaThreads);
  launch_kernel(kOp, stream, differentiate_packed<T>, blocks, a, static_cast<int>(range));
  return true;
}

bool run_packed(const MomentPoolBackwardArgs& a, cudaStream_t stream) {
  switch (a.x.dtype) {
    case DType::kFloat32: return run_packed<float>(a, stream);
    case DType::kFloat16: return run_packed<__half>(a, stream);
    case DType::kBFloat16: return run_packed<__nv_bfloat16>(a, stream);
    default: return false;
  }
}

template <typename Real>
void run(const MomentPoolBackwardArgs& a, cudaStream_t stream) {
  if (!run_packed(a, stream)) a.channels_last ? run_columns<Single<Real>>(a, stream) : run_planes<Real>(a, stream);
}

}  // namespace
}  // namespace VQAFAST_ISA

void moment_pool_backward_cuda(const Context& context, const MomentPoolBackwardArgs& args);

void moment_pool_backward_cuda(const Context& context, const MomentPoolBackwardArgs& args) {
  if (args.x.images == 0) return;
  const DeviceScope scope(VQAFAST_ISA::kOp, context);
  MomentPoolBackwardArgs flat = args;
  flat.x = VQAFAST_ISA::flattened(VQAFAST_ISA::kOp, args.x);
  args.x.dtype == DType::kFloat64 ? VQAFAST_ISA::run<double>(flat, stream_of(context))
                                  : VQAFAST_ISA::run<float>(flat, stream_of(context));
}

}  // namespace vqafast
