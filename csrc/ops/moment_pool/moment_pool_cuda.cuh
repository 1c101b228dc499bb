// How both CUDA kernels read and write maps: 16 bytes at a time, or one element of any stride.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda_check.cuh"
#include "ops/moment_pool/moment_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kWarp = 32;
constexpr int kFlight = 4;  // loads that a thread has in flight

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void from_float(float value, float* to) { *to = value; }
__device__ inline void from_float(float value, __half* to) { *to = __float2half_rn(value); }
__device__ inline void from_float(float value, __nv_bfloat16* to) { *to = __float2bfloat16_rn(value); }

// Neighbouring elements on a 16-byte boundary. read() and unpack() are apart so that several reads are under way before
// the first value is needed.
template <typename T>
struct Packed {
  using Real = float;
  using Raw = uint4;
  static constexpr int kWidth = 16 / static_cast<int>(sizeof(T));

  __device__ static Raw read(const char* at, DType) { return *reinterpret_cast<const uint4*>(at); }
  __device__ static Real read_one(const char* at, DType) { return to_float(*reinterpret_cast<const T*>(at)); }
  __device__ static void unpack(const Raw& raw, Real* values) {
    const T* packed = reinterpret_cast<const T*>(&raw);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) values[j] = to_float(packed[j]);
  }
  __device__ static void write(const Real* values, DType, char* to) {
    uint4 raw;
    T* packed = reinterpret_cast<T*>(&raw);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) from_float(values[j], packed + j);
    *reinterpret_cast<uint4*>(to) = raw;
  }
};

// One element, of a dtype that is known when the kernel runs: for layouts not worth a kernel for each dtype.
template <typename R>
struct Single {
  using Real = R;
  using Raw = R;
  static constexpr int kWidth = 1;

  __device__ static Raw read(const char* at, DType dtype) { return read_one(at, dtype); }
  __device__ static Real read_one(const char* at, DType dtype) {
    if constexpr (sizeof(R) == 4) {
      if (dtype == DType::kFloat16) return to_float(*reinterpret_cast<const __half*>(at));
      if (dtype == DType::kBFloat16) return to_float(*reinterpret_cast<const __nv_bfloat16*>(at));
    }
    return *reinterpret_cast<const R*>(at);
  }
  __device__ static void unpack(const Raw& raw, Real* values) { *values = raw; }
  __device__ static void write(const Real* values, DType dtype, char* to) {
    if constexpr (sizeof(R) == 4) {
      if (dtype == DType::kFloat16) return from_float(*values, reinterpret_cast<__half*>(to));
      if (dtype == DType::kBFloat16) return from_float(*values, reinterpret_cast<__nv_bfloat16*>(to));
    }
    *reinterpret_cast<R*>(to) = *values;
  }
};

// Maps whose pixels are evenly spaced become maps of one row, which no kernel has to divide for. The division for the
// others is one of 32 bits: one of 64 takes several times as long, and registers.
inline MomentPoolMaps flattened(const char* op, MomentPoolMaps x) {
  if (x.width == 1) {
    x.width = x.height;
    x.stride_w = x.stride_h;
    x.height = 1;
  } else if (x.height == 1 || x.stride_h == x.width * x.stride_w) {
    x.width *= x.height;
    x.height = 1;
  } else if ((x.width * x.height) >> 32 != 0) {
    throw Unsupported(concat(op, ": maps on CUDA with gaps between their rows must have fewer than 2^32 pixels, got ",
                             x.height, " x ", x.width));
  }
  return x;
}

// Of flattened maps: the pixels of a plane, and the planes, follow each other without gaps.
inline bool packed_pixels(const MomentPoolMaps& x) {
  return x.height == 1 && (x.width == 1 || x.stride_w == item_size(x.dtype));
}

inline bool packed_planes(const MomentPoolMaps& x) {
  const std::int64_t plane = x.width * item_size(x.dtype);
  return packed_pixels(x) && (x.channels == 1 || x.stride_c == plane) &&
         (x.images == 1 || x.stride_n == x.channels * plane);
}

inline bool on_16_bytes(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

// Of flattened maps: every plane has its pixels next to each other, and starts on 16 bytes.
inline bool packed_items(const MomentPoolMaps& x) {
  const auto even = [](std::int64_t extent, std::int64_t stride) { return extent == 1 || stride % 16 == 0; };
  return packed_pixels(x) && on_16_bytes(x.data) && even(x.images, x.stride_n) && even(x.channels, x.stride_c);
}

// Of flattened maps: the channels of every pixel are whole items of 16 bytes.
inline bool packed_channels(const MomentPoolMaps& x) {
  const auto even = [](std::int64_t extent, std::int64_t stride) { return extent == 1 || stride % 16 == 0; };
  return x.dtype != DType::kFloat64 && x.channels % cuda_width(x.dtype) == 0 && x.stride_c == item_size(x.dtype) &&
         on_16_bytes(x.data) && even(x.images, x.stride_n) && even(x.height, x.stride_h) && even(x.width, x.stride_w);
}

// Bytes from a plane's first pixel to pixel p.
__device__ inline std::int64_t pixel_offset(const MomentPoolMaps& x, std::int64_t p) {
  if (x.height == 1) return p * x.stride_w;
  const std::int64_t row = static_cast<std::uint32_t>(p) / static_cast<std::uint32_t>(x.width);
  return row * x.stride_h + (p - row * x.width) * x.stride_w;
}

// What a thread of a column kernel works on. See cuda_columns.
struct ColumnPlace {
  std::int64_t n, chunk, channel;  // channel: the first of the thread's item
  std::int64_t first;              // channel of the block
  std::int64_t begin, end;         // pixels of the chunk
  int column;                      // of the warp's lanes
  int row, rows;                   // a warp takes `rows` pixels at a time
  // Each warp goes down a stretch of its own.
  std::int64_t stretch_begin, stretch_end;
};

__device__ inline std::int64_t stretch(std::int64_t count, int warp) { return count * warp / (kCudaThreads / kWarp); }

__device__ inline ColumnPlace column_place(const MomentPoolMaps& x, const CudaColumns& cut, int width) {
  ColumnPlace at;
  const unsigned groups = static_cast<unsigned>(cut.groups), chunks = static_cast<unsigned>(cut.chunks);
  const unsigned rest = blockIdx.x / groups;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const std::int64_t pixels = x.height * x.width;
  at.n = rest / chunks;
  at.chunk = rest % chunks;
  at.column = lane & (cut.lanes - 1);
  at.row = lane / cut.lanes;
  at.rows = kWarp / cut.lanes;
  at.first = static_cast<std::int64_t>(blockIdx.x % groups) * cut.lanes * width;
  at.channel = at.first + at.column * width;
  at.begin = chunk_begin(pixels, cut.chunks, at.chunk);
  at.end = chunk_begin(pixels, cut.chunks, at.chunk + 1);
  at.stretch_begin = at.begin + stretch(at.end - at.begin, warp);
  at.stretch_end = at.begin + stretch(at.end - at.begin, warp + 1);
  return at;
}

// Threads of a block that works along one plane of so many elements: a few loads for each.
inline int threads_for(std::int64_t elements, int width) {
  int threads = kWarp;
  while (threads < kCudaThreads && elements > static_cast<std::int64_t>(threads) * width * kFlight) threads *= 2;
  return threads;
}

inline int ceil_div(std::int64_t count, std::int64_t by) { return static_cast<int>((count + by - 1) / by); }

// Enough blocks for `count` things, `each` of them in a block.
inline Blocks blocks_of(std::int64_t count, std::int64_t each, int threads) {
  return {static_cast<unsigned>(ceil_div(count, each)), threads};
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
