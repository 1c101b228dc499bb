// What every <op>_cuda.cu needs of the runtime: errors, the tensors' device for a scope, the caller's stream.
#pragma once

#include <cuda_runtime.h>

#include "core/check.h"
#include "core/context.h"

namespace vqafast {

inline void cuda_check(const char* op, const char* what, cudaError_t status) {
  if (status == cudaSuccess) return;
  throw CudaError(
      concat(op, ": ", what, " must succeed, got ", cudaGetErrorName(status), " (", cudaGetErrorString(status), ")"));
}

// After a launch. Finds a launch that was refused; what goes wrong later, on the device, the caller's synchronisation
// finds.
inline void check_launch(const char* op) { cuda_check(op, "the kernel's launch", cudaGetLastError()); }

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

}  // namespace vqafast
