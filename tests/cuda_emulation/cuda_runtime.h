// The part of CUDA that csrc/ops uses, on the CPU: what the .cu files see in place of the toolkit's header when they
// are compiled as C++ (VQAFAST_CUDA=EMULATED). Says nothing about speed.
//
// A block's threads are fibers of the calling thread. A warp runs as far as it gets without the others, the blocks of a
// grid one after another; lanes, warps and blocks in an order that changes from launch to launch, so that a missing
// barrier shows as a wrong result.
// What CUDA leaves undefined is an error of the launch: barriers at different places, shuffles without all lanes,
// misaligned loads, writes behind the dynamic shared memory that was asked for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline
// Static, and every calling thread its own. It keeps what the block before left there, as on a GPU.
#define __shared__ thread_local

struct uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern thread_local uint3 threadIdx, blockIdx;
extern thread_local dim3 blockDim, gridDim;

namespace cuda_emulation {

constexpr int kWarp = 32;
constexpr std::size_t kMaxShared = 227 << 10;  // of a block, compute capability 9.0
constexpr std::size_t kUnasked = 48 << 10;     // without cudaFuncSetAttribute

inline thread_local int current_device = 0;

// Waits for the block's other threads; `line` tells one barrier from another.
void barrier(int line);
// Gives `bytes` (up to 8) of this lane to its warp, and fills `from` with those of lane `source`.
void shuffle(unsigned mask, int line, const void* mine, std::size_t bytes, int source, void* from);
int lane();
// Ends the launch with an error.
[[noreturn]] void refuse(const char* what);

// Runs all blocks of a grid. Returns a cudaError_t.
int run(dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& thread);
// What cudaFuncSetAttribute allowed a kernel.
std::size_t& allowed_shared(const void* kernel);

template <typename T>
T shuffled(unsigned mask, int line, T value, int source) {
  T result;
  shuffle(mask, line, &value, sizeof(T), source, &result);
  return result;
}

template <typename T>
T load(const T* from) {
  if (reinterpret_cast<std::uintptr_t>(from) % sizeof(T) != 0) refuse("a misaligned load");
  return *from;
}

}  // namespace cuda_emulation

#define __syncthreads() ::cuda_emulation::barrier(__LINE__)
// A lane whose source lies outside the warp gets its own value back.
#define __shfl_xor_sync(mask, value, offset) \
  ::cuda_emulation::shuffled(mask, __LINE__, value, ::cuda_emulation::lane() ^ (offset))
#define __shfl_down_sync(mask, value, offset)                                              \
  ::cuda_emulation::shuffled(mask, __LINE__, value,                                        \
                             ::cuda_emulation::lane() + (offset) < ::cuda_emulation::kWarp \
                                 ? ::cuda_emulation::lane() + (offset)                     \
                                 : ::cuda_emulation::lane())
#define __ldg(from) ::cuda_emulation::load(from)

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Bytes of (high, low) that the four low nibbles of `selector` name.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t bytes = (static_cast<std::uint64_t>(high) << 32) | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 0xf;
    if (nibble > 7) cuda_emulation::refuse("__byte_perm with the sign of a byte, which is not emulated");
    result |= static_cast<unsigned>(bytes >> 8 * nibble & 0xff) << 8 * i;
  }
  return result;
}

using std::max;
using std::min;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);

inline cudaError_t cudaGetDevice(int* device) {
  *device = cuda_emulation::current_device;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  // As many as the emulated driver of tests/card_emulation has.
  const char* count = std::getenv("VQAFAST_CARD_DEVICES");
  if (device < 0 || device >= (count == nullptr ? 1 : std::atoi(count))) return cudaErrorInvalidDevice;
  cuda_emulation::current_device = device;
  return cudaSuccess;
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<std::size_t>(value) > cuda_emulation::kMaxShared) return cudaErrorInvalidValue;
  cuda_emulation::allowed_shared(reinterpret_cast<const void*>(kernel)) = static_cast<std::size_t>(value);
  return cudaSuccess;
}

// Complete when it returns, whatever the stream.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (config->dynamicSmemBytes > cuda_emulation::allowed_shared(reinterpret_cast<const void*>(kernel)))
    return cudaErrorInvalidValue;
  return static_cast<cudaError_t>(
      cuda_emulation::run(config->gridDim, config->blockDim, config->dynamicSmemBytes, [&] { kernel(arguments...); }));
}
