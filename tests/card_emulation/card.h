// A card without a card: libcuda.so.1 and libnvcuvid.so.1 in one library, on this machine's memory, as far as FFmpeg
// and vqafast/engines/cuda_driver.py call them. What FFmpeg does with a card is then FFmpeg's own code.
//
// It cannot decode. It knows a picture by the bytes that it is given of it, and finds the pixels in the folder
// VQAFAST_CARD_PICTURES, where tests/video/card.py has put them. It is strict where a driver is: no call without a
// context in the thread, no more surfaces than asked for, no work after an error that breaks the context.
//
// Layouts of structures: nv-codec-headers 11.1, as offsets of what is used.

#pragma once

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace card {

using Result = int;
using Pointer = unsigned long long;

constexpr Result kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kInvalidDevice = 101,
                 kInvalidContext = 201, kInvalidHandle = 400, kIllegalAddress = 700, kNotSupported = 801;
constexpr size_t kPitch = 512;  // of rows, in bytes
constexpr unsigned char kUnwritten = 0xa5, kFreed = 0xdd;
constexpr int kSurfaces = 32;

struct Context {
  int device;
};

struct Decoder {
  size_t width = 0, height = 0, item = 1;  // of a surface, in samples; bytes of a sample
  size_t outputs = 0;                      // pictures that may be mapped at once
  std::vector<std::vector<unsigned char>> surfaces;
  std::set<Pointer> mapped;

  size_t pitch() const { return (width * item + kPitch - 1) / kPitch * kPitch; }
  size_t bytes() const { return pitch() * (height + (height + 1) / 2); }
};

struct Failure {
  long after = -1;  // calls that still succeed; below 0: no failure
  Result status = 0;
  bool breaks = false;  // the context, for all further calls
};

inline std::mutex mutex;
inline pid_t owner = 0;  // the process that called cuInit
inline std::map<int, Context*> primary;
inline std::set<Context*> created;
inline std::map<Pointer, size_t> memory;
inline size_t used = 0, room = static_cast<size_t>(-1);
inline std::set<Decoder*> decoders;
inline std::map<std::string, Failure> failures;
inline std::map<std::string, long> calls;
inline Result broken = kSuccess;
inline thread_local std::vector<Context*> stack;

// VQAFAST_CARD_FAIL="FILE FUNCTION AFTER STATUS BREAKS": as card_fail, in the first process that comes so far. It makes
// FILE.
inline void fail_as_the_environment_says(const char* name) {
  static const std::string given = [] {
    const char* value = std::getenv("VQAFAST_CARD_FAIL");
    return std::string(value == nullptr ? "" : value);
  }();
  if (given.empty()) {
    return;
  }
  std::istringstream words(given);
  std::string file, function;
  Failure failure;
  words >> file >> function >> failure.after >> failure.status >> failure.breaks;
  if (function != name || calls[name] <= failure.after) {
    return;
  }
  const int descriptor = open(file.c_str(), O_CREAT | O_EXCL, 0600);
  if (descriptor >= 0) {
    close(descriptor);
    failure.after = 0;
    failures[function] = failure;
  }
}

inline int devices() {
  const char* given = std::getenv("VQAFAST_CARD_DEVICES");
  return given == nullptr ? 1 : std::atoi(given);
}

// Every call comes through here: counts it, and says what keeps it from being done.
inline Result enter(const char* name, bool in_context) {
  ++calls[name];
  fail_as_the_environment_says(name);
  const auto failure = failures.find(name);
  if (failure != failures.end() && failure->second.after >= 0 && failure->second.after-- == 0) {
    const Failure failed = failure->second;
    failures.erase(failure);
    if (failed.breaks) {
      broken = failed.status;
    }
    return failed.status;
  }
  if (owner != getpid()) {
    return kNotInitialized;
  }
  if (broken != kSuccess) {
    return broken;
  }
  if (in_context && (stack.empty() || stack.back() == nullptr)) {
    return kInvalidContext;
  }
  return kSuccess;
}

inline Result allocate(Pointer* result, size_t bytes) {
  if (bytes == 0) {
    return kInvalidValue;
  }
  if (bytes > room - std::min(room, used)) {
    return kOutOfMemory;
  }
  void* block = std::aligned_alloc(kPitch, (bytes + kPitch - 1) / kPitch * kPitch);
  std::memset(block, kUnwritten, bytes);
  *result = reinterpret_cast<Pointer>(block);
  memory[*result] = bytes;
  used += bytes;
  return kSuccess;
}

inline Result release(Pointer pointer) {
  const auto block = memory.find(pointer);
  if (block == memory.end()) {
    return kInvalidValue;
  }
  std::memset(reinterpret_cast<void*>(pointer), kFreed, block->second);
  std::free(reinterpret_cast<void*>(pointer));
  used -= block->second;
  memory.erase(block);
  return kSuccess;
}

template <typename T>
T field(const void* structure, size_t offset) {
  T value;
  std::memcpy(&value, static_cast<const char*>(structure) + offset, sizeof(T));
  return value;
}

template <typename T>
inline void set_field(void* structure, size_t offset, T value) {
  std::memcpy(static_cast<char*>(structure) + offset, &value, sizeof(T));
}

// What is asked for in a stream is done when somebody waits for it. The source is read at once: it was complete.
struct Pending {
  Pointer start;
  size_t pitch, width, rows;
  std::vector<char> bytes;
};
inline std::vector<Pending> pending;

inline void flush() {
  for (const Pending& write : pending) {
    for (size_t row = 0; row < write.rows; ++row) {
      std::memcpy(reinterpret_cast<char*>(write.start) + row * write.pitch, write.bytes.data() + row * write.width,
                  write.width);
    }
  }
  pending.clear();
}

// CUDA_MEMCPY2D.
inline Result copy(const void* what, bool later) {
  constexpr int kHost = 1;
  const auto side = [what](size_t base, size_t pitch) {
    const auto host = field<char*>(what, base + 24), device = field<char*>(what, base + 32);
    char* start = field<int>(what, base + 16) == kHost ? host : device;
    return start + field<size_t>(what, base + 8) * pitch + field<size_t>(what, base);
  };
  const auto source_pitch = field<size_t>(what, 48), target_pitch = field<size_t>(what, 104);
  const char* source = side(0, source_pitch);
  char* target = side(56, target_pitch);
  Pending write{
      reinterpret_cast<Pointer>(target), target_pitch, field<size_t>(what, 112), field<size_t>(what, 120), {}};
  for (size_t row = 0; row < write.rows; ++row) {
    const char* start = source + row * source_pitch;
    write.bytes.insert(write.bytes.end(), start, start + write.width);
  }
  pending.push_back(std::move(write));
  if (!later) {
    flush();
  }
  return kSuccess;
}

}  // namespace card

#define DRIVER extern "C" __attribute__((visibility("default"))) Result
#define ENTER(in_context)                             \
  const std::lock_guard<std::mutex> lock(mutex);      \
  const Result entered = enter(__func__, in_context); \
  if (entered != kSuccess) {                          \
    return entered;                                   \
  }
