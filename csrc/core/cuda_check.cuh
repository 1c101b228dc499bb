// What every <op>_cuda.cu needs of the runtime: errors, the tensors' device for a scope, the caller's stream, launches.
// The runtime may be the CPU's: see tests/cuda_emulation.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "core/check.h"
#include "core/context.h"
#include "core/host_device.h"

namespace vqafast {

inline void cuda_check(const char* op, const char* what, cudaError_t status) {
  if (status == cudaSuccess) return;
  throw CudaError(
      concat(op, ": ", what, " must succeed, got ", cudaGetErrorName(status), " (", cudaGetErrorString(status), ")"));
}

// Makes the device of a context current, and the one before it again at the end.
class DeviceScope {
 public:
  DeviceScope(const char* op, const Context& context) {
    cuda_check(op, "cudaGetDevice", cudaGetDevice(&before_));
    changed_ = before_ != context.device;
    if (changed_) cuda_check(op, "cudaSetDevice", cudaSetDevice(context.device));
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

inline cudaStream_t stream_of(const Context& context) { return static_cast<cudaStream_t>(context.stream); }

struct Blocks {
  dim3 grid;
  int threads;             // of a block
  std::size_t shared = 0;  // bytes of dynamic_shared() of a block
};

// kernel<<<blocks.grid, blocks.threads, blocks.shared, stream>>>(arguments...). A launch that is refused is an error;
// what goes wrong later, on the device, the caller's synchronisation finds.
template <typename... Parameters, typename... Arguments>
void launch_kernel(const char* op, cudaStream_t stream, void (*kernel)(Parameters...), const Blocks& blocks,
                   const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks.grid;
  config.blockDim = dim3(static_cast<unsigned>(blocks.threads));
  config.dynamicSmemBytes = blocks.shared;
  config.stream = stream;
  cuda_check(op, "the kernel's launch", cudaLaunchKernelEx(&config, kernel, arguments...));
}

namespace VQAFAST_ISA {

// The shared memory that a launch asked for, on 16 bytes.
template <typename T>
__device__ T* dynamic_shared() {
  extern __shared__ float4 dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
