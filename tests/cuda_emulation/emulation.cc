// The scheduler of cuda_runtime.h: fibers, barriers, shuffles.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "cuda_runtime.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

thread_local uint3 threadIdx, blockIdx;
thread_local dim3 blockDim, gridDim;

namespace vqafast::isa_cuda {
// What dynamic_shared() of core/cuda_check.cuh declares.
alignas(16) thread_local float4 dynamic_shared_memory[cuda_emulation::kMaxShared / sizeof(float4)];
}  // namespace vqafast::isa_cuda

namespace cuda_emulation {
namespace {

using vqafast::isa_cuda::dynamic_shared_memory;

constexpr std::size_t kStack = 512 << 10;
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxGrid[3] = {2147483647u, 65535u, 65535u};

enum class Wait { kNothing, kBarrier, kShuffle, kDone };

// A thread of a block. It keeps its stack for the next block and launch. A guard page at the low end of the stack ends
// a process that runs over.
struct Fiber {
  jmp_buf place;  // where it waits
  bool begun = false;
  Wait wait = Wait::kDone;
  int line = 0;
  uint3 index{};
  // Two, as a lane may be at its next shuffle before others have read what it gave to this one.
  unsigned char given[2][8];
  unsigned shuffles = 0;
  char* const stack;

  Fiber() : stack(static_cast<char*>(mmap(nullptr, kStack, PROT_READ | PROT_WRITE, kMapping, -1, 0))) {
    if (stack == MAP_FAILED || mprotect(stack, kPage, PROT_NONE) != 0) {
      std::perror("cuda_emulation: no memory for the stack of a thread");
      std::abort();
    }
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() { munmap(stack, kStack); }

 private:
  static constexpr int kMapping = MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE;
  static constexpr std::size_t kPage = 4096;
};

// What runs on one thread of the host.
struct Scheduler {
  jmp_buf place;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber* running = nullptr;
  const std::function<void()>* body = nullptr;
  const char* refused = nullptr;  // why the last launch failed
  unsigned launches = first_order();
  // The stack of the host's thread, as AddressSanitizer wants to know it.
  const void* bottom = nullptr;
  std::size_t size = 0;

  // Launches take their order from a number: that of the launch, counted from here.
  static unsigned first_order() {
    const char* given = std::getenv("VQAFAST_EMULATED_ORDER");
    return given ? static_cast<unsigned>(std::atoi(given)) : 0;
  }
};

thread_local Scheduler scheduler;

#ifdef __SANITIZE_ADDRESS__
void before_switch(void** fake, const void* stack, std::size_t size) {
  __sanitizer_start_switch_fiber(fake, stack, size);
}
void after_switch(void* fake, const void** stack, std::size_t* size) {
  __sanitizer_finish_switch_fiber(fake, stack, size);
}
#else
void before_switch(void**, const void*, std::size_t) {}
void after_switch(void*, const void**, std::size_t*) {}
#endif

// Back to the scheduler, until it resumes this fiber.
void leave() {
  Scheduler& s = scheduler;
  void* fake = nullptr;
  before_switch(&fake, s.bottom, s.size);
  if (_setjmp(s.running->place) == 0) _longjmp(s.place, 1);
  after_switch(fake, &s.bottom, &s.size);
}

void wait(Wait what, int line) {
  scheduler.running->wait = what;
  scheduler.running->line = line;
  leave();
}

// A fiber's life: one thread of a block after another.
void live() {
  after_switch(nullptr, &scheduler.bottom, &scheduler.size);
  for (;;) {
    (*scheduler.body)();
    wait(Wait::kDone, 0);
  }
}

// The first time; later fibers are jumped to, which costs no call of the system.
void begin(Fiber& fiber) {
  ucontext_t context, unused;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, &live, 0);
  swapcontext(&unused, &context);
}

void resume(Fiber& fiber) {
  scheduler.running = &fiber;
  fiber.wait = Wait::kNothing;
  threadIdx = fiber.index;
  void* fake = nullptr;
  before_switch(&fake, fiber.stack, kStack);
  if (_setjmp(scheduler.place) == 0) {
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    begin(fiber);
  }
  after_switch(fake, nullptr, nullptr);
}

// Lets the fibers from `first` to `last` go on if all of them wait for the same.
bool release(std::size_t first, std::size_t last, Wait what, bool without_gone) {
  int line = 0;
  bool any = false;
  for (std::size_t i = first; i < last; ++i) {
    const Fiber& fiber = *scheduler.fibers[i];
    if (without_gone && fiber.wait == Wait::kDone) continue;
    if (fiber.wait != what) return false;
    if (any && fiber.line != line) {
      scheduler.refused = what == Wait::kBarrier ? "threads of a block wait at different barriers"
                                                 : "lanes of a warp wait at different shuffles";
      return false;
    }
    line = fiber.line;
    any = true;
  }
  for (std::size_t i = first; i < last; ++i) {
    if (scheduler.fibers[i]->wait == what) scheduler.fibers[i]->wait = Wait::kNothing;
  }
  return any;
}

// Runs a warp's threads as far as they get without other warps. Returns whether any moved.
bool run_warp(std::size_t first, std::size_t last, std::mt19937& random) {
  Scheduler& s = scheduler;
  std::vector<std::size_t> lanes(last - first);
  std::iota(lanes.begin(), lanes.end(), first);
  bool moved = false;
  do {
    std::shuffle(lanes.begin(), lanes.end(), random);
    for (const std::size_t i : lanes) {
      if (s.fibers[i]->wait != Wait::kNothing) continue;
      resume(*s.fibers[i]);
      if (s.refused) return true;
      moved = true;
    }
    // A shuffle waits for all lanes of a warp.
  } while (release(first, last, Wait::kShuffle, false));
  return moved;
}

void run_block(dim3 size, std::mt19937& random) {
  Scheduler& s = scheduler;
  const std::size_t count = std::size_t{size.x} * size.y * size.z;
  while (s.fibers.size() < count) s.fibers.push_back(std::make_unique<Fiber>());
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = static_cast<unsigned>(i);
    s.fibers[i]->index = {at % size.x, at / size.x % size.y, at / size.x / size.y};
    s.fibers[i]->wait = Wait::kNothing;
  }
  std::vector<std::size_t> warps((count + kWarp - 1) / kWarp);
  std::iota(warps.begin(), warps.end(), std::size_t{0});
  const auto gone = [&](std::size_t i) { return s.fibers[i]->wait == Wait::kDone; };
  for (;;) {
    std::shuffle(warps.begin(), warps.end(), random);
    bool moved = false;
    for (const std::size_t warp : warps) {
      moved |= run_warp(warp * kWarp, std::min(warp * kWarp + kWarp, count), random);
      if (s.refused) break;
    }
    // A barrier waits for threads that are still there.
    moved |= !s.refused && release(0, count, Wait::kBarrier, true);
    std::size_t left = 0;
    for (std::size_t i = 0; i < count; ++i) left += !gone(i);
    if (left == 0 && !s.refused) return;
    if (!moved && !s.refused) s.refused = "threads of a block wait for others that never come";
    if (s.refused) break;
  }
  s.fibers.clear();  // some of them in the middle of a kernel
}

}  // namespace

void barrier(int line) { wait(Wait::kBarrier, line); }

int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

void refuse(const char* what) {
  scheduler.refused = what;
  leave();
  std::abort();  // nobody comes back to a refused block
}

void shuffle(unsigned mask, int line, const void* mine, std::size_t bytes, int source, void* from) {
  if (mask != ~0u) refuse("a shuffle of some lanes of a warp, which is not emulated");
  if (blockDim.x % kWarp != 0 || blockDim.y * blockDim.z != 1) refuse("a shuffle in a warp that is not full");
  Fiber& self = *scheduler.running;
  const unsigned turn = self.shuffles++ % 2;
  std::memcpy(self.given[turn], mine, bytes);
  wait(Wait::kShuffle, line);
  const std::size_t warp = threadIdx.x / kWarp * kWarp;
  std::memcpy(from, scheduler.fibers[warp + static_cast<std::size_t>(source)]->given[turn], bytes);
}

std::size_t& allowed_shared(const void* kernel) {
  static std::map<const void*, std::size_t> allowed;
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  return allowed.emplace(kernel, kUnasked).first->second;
}

int run(dim3 grid, dim3 size, std::size_t shared, const std::function<void()>& thread) {
  const std::size_t threads = std::size_t{size.x} * size.y * size.z;
  if (threads == 0 || threads > kMaxThreads || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > kMaxGrid[0] ||
      grid.y > kMaxGrid[1] || grid.z > kMaxGrid[2])
    return cudaErrorInvalidValue;
  std::mt19937 random(scheduler.launches++);
  std::vector<std::size_t> order(std::size_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  gridDim = grid;
  blockDim = size;
  scheduler.body = &thread;
  scheduler.refused = nullptr;
  constexpr int kPoison = 0xdb;
  char* const memory = reinterpret_cast<char*>(dynamic_shared_memory);
  for (const std::size_t i : order) {
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    if (shared > 0) std::memset(memory, kPoison, kMaxShared);
    run_block(size, random);
    for (std::size_t k = shared; shared > 0 && k < kMaxShared; ++k) {
      if (memory[k] != static_cast<char>(kPoison) && !scheduler.refused)
        scheduler.refused = "a write behind the dynamic shared memory of the launch";
    }
    if (scheduler.refused) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

}  // namespace cuda_emulation

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
  }
  return "?";
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure && cuda_emulation::scheduler.refused ? cuda_emulation::scheduler.refused
                                                                              : "emulated";
}
