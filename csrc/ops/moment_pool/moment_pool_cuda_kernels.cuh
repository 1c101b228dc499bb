// Each kernel sums x - shift and its square, where the shift is a mean of the block's own first values: a large offset
// costs no precision, sums of threads simply add up, and a constant map has a deviation of exactly 0. A thread adds few
// values in its own type; warps and chunks are added in double, in a fixed order.
#pragma once

#include "ops/moment_pool/moment_pool_cuda.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kWarps = kCudaThreads / kWarp;
constexpr int kSpan = 16384;  // bytes of small planes that a block works on in shared memory
constexpr int kSmallPlane = kSpan / 8;

template <typename V>
struct Pair {
  V first, second;

  __device__ void add(const Pair& other) {
    first += other.first;
    second += other.second;
  }
};

// The sum over `lanes` neighbouring lanes, to all of them.
template <typename V>
__device__ inline V sum_lanes(V value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}

// The sum over the block, to all its threads. `scratch`: kWarps pairs that nothing else uses.
template <typename V>
__device__ inline Pair<V> sum_block(Pair<V> value, Pair<V>* scratch) {
  value = {sum_lanes(value.first, kWarp), sum_lanes(value.second, kWarp)};
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return value;
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = scratch[0];
  for (int w = 1; w < warps; ++w) value.add(scratch[w]);
  return value;
}

// d = value - shift goes to the first sum, its square to the second.
template <typename Real>
__device__ inline void add_value(Real value, Real shift, Real* first, Real* second) {
  const Real d = value - shift;
  *first += d;
  *second += d * d;
}

__device__ inline double* partial(const MomentPoolArgs& a, std::int64_t n, std::int64_t c, std::int64_t chunk) {
  return a.partial + ((n * a.chunks + chunk) * a.x.channels + c) * 2;
}

// The moments of a chunk from its sums: the result if it is the only one.
template <typename Real>
__device__ inline void finish(const MomentPoolArgs& a, std::int64_t n, std::int64_t c, std::int64_t chunk,
                              std::int64_t pixels, Real shift, double first, double second) {
  const double count = static_cast<double>(pixels), rest = first / count;
  const Moments moments{count, static_cast<double>(shift) + rest, second - first * rest};
  if (a.chunks == 1) return write_moments<Real>(a, n, c, moments);
  partial(a, n, c, chunk)[0] = moments.mean;
  partial(a, n, c, chunk)[1] = moments.squares;
}

// Small planes without gaps: a block copies several, then `lanes` threads sum each from shared memory, where a second
// pass is cheap, so the shift is the mean itself.
template <typename T>
__global__ void __launch_bounds__(kCudaThreads) pool_small(const MomentPoolArgs a, int planes, int lanes) {
  using Item = Packed<T>;
  __shared__ uint4 span[kSpan / 16];
  __shared__ float shifts[kCudaThreads], firsts[kCudaThreads], seconds[kCudaThreads];
  const int thread = threadIdx.x, pixels = static_cast<int>(a.x.width);
  const std::int64_t first_plane = static_cast<std::int64_t>(blockIdx.x) * planes;
  const std::int64_t left = a.x.images * a.x.channels - first_plane;
  const int count = left < planes ? static_cast<int>(left) : planes;
  const int elements = count * pixels, items = elements / Item::kWidth;
  const char* from = a.x.data + first_plane * pixels * static_cast<int>(sizeof(T));
  T* values = reinterpret_cast<T*>(span);
  static_assert(kSpan / 16 == kFlight * kCudaThreads, "each thread copies kFlight items");
#pragma unroll
  for (int u = 0; u < kFlight; ++u) {
    const int i = thread + u * kCudaThreads;
    if (i < items) span[i] = Item::read(from + i * 16, a.x.dtype);
  }
  for (int i = items * Item::kWidth + thread; i < elements; i += kCudaThreads)
    values[i] = reinterpret_cast<const T*>(from)[i];
  __syncthreads();

  const int lane = thread & (lanes - 1), teams = kCudaThreads / lanes;
  for (int done = 0; done < count; done += teams) {  // the same number of times for every lane of a warp
    const int plane = done + thread / lanes;
    const T* x = values + plane * pixels;
    const int end = plane < count ? pixels : 0;
    const float origin = end ? to_float(x[0]) : 0.0f;
    float total = 0, first = 0, second = 0;
    for (int i = lane; i < end; i += lanes) total += to_float(x[i]) - origin;
    const float shift = origin + sum_lanes(total, lanes) / static_cast<float>(pixels);
    for (int i = lane; i < end; i += lanes) add_value(to_float(x[i]), shift, &first, &second);
    first = sum_lanes(first, lanes);
    second = sum_lanes(second, lanes);
    if (lane == 0 && end) {
      shifts[plane] = shift;
      firsts[plane] = first;
      seconds[plane] = second;
    }
  }
  __syncthreads();
  if (thread >= count) return;
  const std::int64_t plane = first_plane + thread, n = plane / a.x.channels;
  finish(a, n, plane - n * a.x.channels, 0, pixels, shifts[thread], firsts[thread], seconds[thread]);
}

// A block for a chunk of one plane. Each warp goes down a stretch of its own, so that the first values, which give the
// shift, come from all over the chunk.
template <typename Item>
__global__ void __launch_bounds__(kCudaThreads) pool_planes(const MomentPoolArgs a) {
  using Real = typename Item::Real;
  constexpr int kWidth = Item::kWidth;
  __shared__ Pair<Real> starts[kWarps];
  __shared__ Pair<double> totals[kWarps];
  const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const unsigned chunks = static_cast<unsigned>(a.chunks), channels = static_cast<unsigned>(a.x.channels);
  const unsigned plane = blockIdx.x / chunks, chunk = blockIdx.x % chunks, n = plane / channels, c = plane % channels;
  const std::int64_t all = a.x.height * a.x.width, begin = chunk_begin(all, a.chunks, chunk);
  const std::int64_t pixels = chunk_begin(all, a.chunks, chunk + 1) - begin;
  const char* base = a.x.data + n * a.x.stride_n + c * a.x.stride_c;
  const auto address = [&](std::int64_t p) { return base + pixel_offset(a.x, begin + p); };

  // Elements before the first and after the last 16-byte item of a chunk: one for some of the first warp's threads.
  // Planes start on 16 bytes, so where items lie in a plane does not depend on where it lies in the maps.
  std::int64_t head = 0, items = pixels;
  int edges = 0;
  if constexpr (kWidth > 1) {
    head = (kWidth - begin % kWidth) % kWidth;
    if (head > pixels) head = pixels;
    items = (pixels - head) / kWidth;
    edges = static_cast<int>(pixels - items * kWidth);
  }
  const auto item = [&](std::int64_t i) { return Item::read(address(head + i * kWidth), a.x.dtype); };
  const bool has_edge = thread < edges;
  Real edge = 0;
  if (has_edge) edge = Item::read_one(address(thread < head ? thread : thread + items * kWidth), a.x.dtype);

  const std::int64_t stretch_begin = items * warp / warps, stretch_end = items * (warp + 1) / warps;
  typename Item::Raw raw[kFlight];
  std::int64_t i = stretch_begin + lane;
#pragma unroll
  for (int u = 0; u < kFlight; ++u)
    if (i + u * kWarp < stretch_end) raw[u] = item(i + u * kWarp);
  const Real origin = Item::read_one(address(0), a.x.dtype);
  Real values[kWidth];
  Pair<Real> start{0, 0};
#pragma unroll
  for (int u = 0; u < kFlight; ++u) {
    if (i + u * kWarp >= stretch_end) continue;
    Item::unpack(raw[u], values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) start.first += values[j] - origin;
    start.second += kWidth;
  }
  if (has_edge) start.add({edge - origin, 1});
  start = sum_block(start, starts);
  const Real shift = origin + start.first / start.second;

  Real first = 0, second = 0;
  const auto add = [&](const typename Item::Raw& read) {
    Item::unpack(read, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) add_value(values[j], shift, &first, &second);
  };
  if (has_edge) add_value(edge, shift, &first, &second);
#pragma unroll
  for (int u = 0; u < kFlight; ++u)
    if (i + u * kWarp < stretch_end) add(raw[u]);
  for (i += kFlight * kWarp; i + (kFlight - 1) * kWarp < stretch_end; i += kFlight * kWarp) {
#pragma unroll
    for (int u = 0; u < kFlight; ++u) raw[u] = item(i + u * kWarp);
#pragma unroll
    for (int u = 0; u < kFlight; ++u) add(raw[u]);
  }
  for (; i < stretch_end; i += kWarp) add(item(i));
  const Pair<double> sums = sum_block(Pair<double>{static_cast<double>(first), static_cast<double>(second)}, totals);
  if (thread == 0) finish(a, n, c, chunk, pixels, shift, sums.first, sums.second);
}

// A block for a chunk of the pixels of neighbouring channels: see cuda_columns.
template <typename Item>
__global__ void __launch_bounds__(kCudaThreads) pool_columns(const MomentPoolArgs a, const CudaColumns cut) {
  using Real = typename Item::Real;
  constexpr int kWidth = Item::kWidth;
  __shared__ Real firsts[kWarps][kWarp * kWidth], seconds[kWarps][kWarp * kWidth], shifts[kWarp * kWidth];
  const ColumnPlace at = column_place(a.x, cut, kWidth);
  const int thread = threadIdx.x, warp = thread / kWarp, slot = at.column * kWidth, channels = cut.lanes * kWidth;
  const bool active = at.channel < a.x.channels;  // others must not miss the block's sums
  const std::int64_t end = active ? at.stretch_end : at.stretch_begin;
  const char* base = a.x.data + at.n * a.x.stride_n + (active ? at.channel : 0) * a.x.stride_c;
  const auto item = [&](std::int64_t p) { return Item::read(base + pixel_offset(a.x, p), a.x.dtype); };

  typename Item::Raw raw[kFlight];
  std::int64_t p = at.stretch_begin + at.row;
#pragma unroll
  for (int u = 0; u < kFlight; ++u)
    if (p + u * at.rows < end) raw[u] = item(p + u * at.rows);
  Real values[kWidth], shift[kWidth], first[kWidth] = {}, second[kWidth] = {};
  Item::unpack(item(at.begin), shift);
#pragma unroll
  for (int u = 0; u < kFlight; ++u) {
    if (p + u * at.rows >= end) continue;
    Item::unpack(raw[u], values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) first[j] += values[j] - shift[j];
  }
  // Sums over the rows of a warp end up in its row 0, sums over warps in the first threads, one for each channel.
  const auto sum_rows = [&](Real* sums, Real(*to)[kWarp* kWidth]) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      for (int offset = cut.lanes; offset < kWarp; offset *= 2) sums[j] += __shfl_xor_sync(~0u, sums[j], offset);
      if (at.row == 0) to[warp][slot + j] = sums[j];
    }
  };
  sum_rows(first, firsts);
  if (warp == 0 && at.row == 0)
    for (int j = 0; j < kWidth; ++j) shifts[slot + j] = shift[j];
  __syncthreads();
  if (thread < channels) {
    Real total = 0;
    std::int64_t count = 0;
    for (int w = 0; w < kWarps; ++w) {
      total += firsts[w][thread];
      const std::int64_t length = stretch(at.end - at.begin, w + 1) - stretch(at.end - at.begin, w);
      count += length < kFlight * at.rows ? length : kFlight * at.rows;
    }
    shifts[thread] += total / static_cast<Real>(count);
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    shift[j] = shifts[slot + j];
    first[j] = 0;
  }

  const auto add = [&](const typename Item::Raw& read) {
    Item::unpack(read, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) add_value(values[j], shift[j], &first[j], &second[j]);
  };
#pragma unroll
  for (int u = 0; u < kFlight; ++u)
    if (p + u * at.rows < end) add(raw[u]);
  for (p += kFlight * at.rows; p + (kFlight - 1) * at.rows < end; p += kFlight * at.rows) {
#pragma unroll
    for (int u = 0; u < kFlight; ++u) raw[u] = item(p + u * at.rows);
#pragma unroll
    for (int u = 0; u < kFlight; ++u) add(raw[u]);
  }
  for (; p < end; p += at.rows) add(item(p));
  sum_rows(first, firsts);
  sum_rows(second, seconds);
  __syncthreads();
  if (thread >= channels || at.first + thread >= a.x.channels) return;
  double sums = 0, squares = 0;
  for (int w = 0; w < kWarps; ++w) {
    sums += static_cast<double>(firsts[w][thread]);
    squares += static_cast<double>(seconds[w][thread]);
  }
  finish(a, at.n, at.first + thread, at.chunk, at.end - at.begin, shifts[thread], sums, squares);
}

// A warp for each channel of each image.
template <typename Real>
__global__ void __launch_bounds__(kCudaThreads) combine_chunks(const MomentPoolArgs a) {
  const std::int64_t plane = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  const std::int64_t n = plane / a.x.channels, c = plane - n * a.x.channels, pixels = a.x.height * a.x.width;
  if (n >= a.x.images) return;
  const int lane = threadIdx.x % kWarp;
  Moments moments;
  for (std::int64_t k = lane; k < a.chunks; k += kWarp) {
    const double* part = partial(a, n, c, k);
    const std::int64_t count = chunk_begin(pixels, a.chunks, k + 1) - chunk_begin(pixels, a.chunks, k);
    moments.add(static_cast<double>(count), part[0], part[1]);
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Moments other{__shfl_down_sync(~0u, moments.count, offset), __shfl_down_sync(~0u, moments.mean, offset),
                        __shfl_down_sync(~0u, moments.squares, offset)};
    if (other.count > 0) moments.add(other.count, other.mean, other.squares);
  }
  if (lane == 0) write_moments<Real>(a, n, c, moments);
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
