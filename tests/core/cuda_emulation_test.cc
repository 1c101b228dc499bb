// The emulation of CUDA finds what it says it finds, and lets right kernels pass.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/cuda_check.cuh"

namespace {

using vqafast::Blocks;
using vqafast::launch_kernel;
using vqafast::isa_cuda::dynamic_shared;

constexpr int kThreads = 64;

__global__ void reversed(int* out, bool waits) {
  __shared__ int values[kThreads];
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (waits) __syncthreads();
  out[blockIdx.x * kThreads + threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

__global__ void summed(int* out) {
  int value = static_cast<int>(threadIdx.x);
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(~0u, value, offset);
  out[threadIdx.x] = value;
}

// Half of the threads have gone: the others need not wait for them.
__global__ void left_early(int* out) {
  if (threadIdx.x >= kThreads / 2) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void at_two_barriers(int* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ void shuffled_without_all_lanes(int* out) {
  if (threadIdx.x % 2 == 0) out[threadIdx.x] = __shfl_xor_sync(~0u, 1, 2);
}

__global__ void shuffled_beside_a_barrier(int* out) {
  if (threadIdx.x < kThreads / 2) {
    __syncthreads();
  } else if (threadIdx.x % 2 == 0) {
    out[threadIdx.x] = __shfl_xor_sync(~0u, 1, 2);
  }
}

__global__ void misaligned(int* out) {
  const char* bytes = reinterpret_cast<const char*>(out);
  out[threadIdx.x] = __ldg(reinterpret_cast<const int*>(bytes + 1));
}

__global__ void filled(int* out, int count) {
  int* const values = dynamic_shared<int>();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) values[i] = i;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}

int failures = 0;

void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "failed: %s\n", what);
  ++failures;
}

template <typename Launch>
void refused(const char* part, const Launch& launch) {
  std::string got = "nothing";
  try {
    launch();
  } catch (const vqafast::CudaError& error) {
    got = error.what();
  }
  expect(got.find(part) != std::string::npos, (std::string("an error with '") + part + "', got " + got).c_str());
}

}  // namespace

int main() {
  constexpr int kBlocks = 3;
  std::vector<int> out(kBlocks * kThreads);
  const Blocks one{1, kThreads};
  const auto run = [&](void (*kernel)(int*)) { launch_kernel("op", nullptr, kernel, one, out.data()); };

  const auto wrong = [&](bool waits) {
    int count = 0;
    for (int k = 0; k < 4; ++k) {
      launch_kernel("op", nullptr, reversed, Blocks{kBlocks, kThreads}, out.data(), waits);
      for (int i = 0; i < kBlocks * kThreads; ++i) count += out[i] != kThreads - 1 - i % kThreads;
    }
    return count;
  };
  // What a block leaves in shared memory is what the next one finds: other values first.
  launch_kernel("op", nullptr, filled, Blocks{1, kThreads, kThreads * sizeof(int)}, out.data(), kThreads);
  expect(wrong(false) > 0, "a missing barrier shows");
  expect(wrong(true) == 0, "with the barrier the result is right");

  run(summed);
  expect(out[0] == 16 * 31 * 32 && out[32] == 32 * (16 * 31 + 32 * 32), "shuffles within each warp");
  std::memset(out.data(), 0, out.size() * sizeof(int));
  run(left_early);
  expect(out[0] == 1 && out[kThreads / 2 - 1] == 1 && out[kThreads / 2] == 0, "threads that left are not waited for");

  refused("threads of a block wait at different barriers", [&] { run(at_two_barriers); });
  refused("threads of a block wait for others that never come", [&] { run(shuffled_without_all_lanes); });
  refused("threads of a block wait for others that never come", [&] { run(shuffled_beside_a_barrier); });
  refused("op: the kernel's launch must succeed, got cudaErrorLaunchFailure (a misaligned load)",
          [&] { run(misaligned); });
  refused("a write behind the dynamic shared memory of the launch", [&] {
    launch_kernel("op", nullptr, filled, Blocks{1, kThreads, kThreads * sizeof(int)}, out.data(), kThreads + 1);
  });
  refused("cudaErrorInvalidValue",
          [&] { launch_kernel("op", nullptr, filled, Blocks{1, kThreads, 49 << 10}, out.data(), kThreads); });
  vqafast::cuda_check("op", "more shared memory",
                      cudaFuncSetAttribute(filled, cudaFuncAttributeMaxDynamicSharedMemorySize, 49 << 10));
  launch_kernel("op", nullptr, filled, Blocks{1, kThreads, 49 << 10}, out.data(), (49 << 10) / 4);
  expect(out[kThreads - 1] == kThreads - 1, "shared memory that was asked for");
  refused("cudaErrorInvalidValue", [&] { launch_kernel("op", nullptr, summed, Blocks{1, 1025}, out.data()); });
  refused("cudaErrorInvalidValue", [&] { launch_kernel("op", nullptr, summed, Blocks{0, kThreads}, out.data()); });
  refused("cudaErrorInvalidValue",
          [&] { launch_kernel("op", nullptr, summed, Blocks{dim3(1, 65536), kThreads}, out.data()); });

  run(summed);
  expect(out[0] == 16 * 31 * 32, "launches after a refused one");
  if (failures == 0) std::puts("cuda_emulation_test: ok");
  return failures == 0 ? 0 : 1;
}
