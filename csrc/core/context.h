// Where and how an op runs. Passed by the caller; ops keep no state of their own.
#pragma once

namespace vqafast {

struct Context {
  int threads = 0;         // 0: as many as the process may use
  void* stream = nullptr;  // cudaStream_t that CUDA kernels are queued on, unused on the CPU
  int device = 0;          // index of the CUDA device; set by the op from its tensors
};

}  // namespace vqafast
