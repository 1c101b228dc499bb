// Where and how an op runs. Passed by the caller; ops keep no state of their own.
#pragma once

namespace vqafast {

struct Context {
  int threads = 0;         // 0: as many as the process may use
  void* stream = nullptr;  // cudaStream_t of CUDA tensors, unused on the CPU
};

}  // namespace vqafast
