// libcuda.so.1, and what tests ask of the card.
#include "card.h"

using namespace card;

// For tests: card_fail("cuMemAlloc_v2", 3, 2, 0) makes the fourth call from now fail, with status 2.
extern "C" __attribute__((visibility("default"))) void card_fail(const char* function, long after, Result status,
                                                                 int breaks) {
  const std::lock_guard<std::mutex> lock(mutex);
  failures[function] = {after, status, breaks != 0};
}

extern "C" __attribute__((visibility("default"))) void card_mend() {
  const std::lock_guard<std::mutex> lock(mutex);
  failures.clear();
  calls.clear();
  broken = kSuccess;
  room = static_cast<size_t>(-1);
}

extern "C" __attribute__((visibility("default"))) void card_forget() {
  const std::lock_guard<std::mutex> lock(mutex);
  for (const Decoder* decoder : decoders) {
    delete decoder;
  }
  decoders.clear();
  // Not freed: somebody may still look at it.
  memory.clear();
  pending.clear();
  used = 0;
}

extern "C" __attribute__((visibility("default"))) void card_flush() {
  const std::lock_guard<std::mutex> lock(mutex);
  flush();
}

extern "C" __attribute__((visibility("default"))) void card_limit(size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  room = bytes;
}

// "memory" in bytes, "decoders", "mapped", "contexts" that exist, or how often a function was called.
extern "C" __attribute__((visibility("default"))) long card_count(const char* what) {
  const std::lock_guard<std::mutex> lock(mutex);
  const std::string name = what;
  if (name == "memory") {
    return static_cast<long>(used);
  }
  if (name == "decoders") {
    return static_cast<long>(decoders.size());
  }
  if (name == "contexts") {
    return static_cast<long>(primary.size() + created.size());
  }
  if (name == "broken") {
    return broken;
  }
  if (name == "mapped") {
    long mapped = 0;
    for (const Decoder* decoder : decoders) {
      mapped += static_cast<long>(decoder->mapped.size());
    }
    return mapped;
  }
  return calls[name];
}

DRIVER cuInit(unsigned) {
  const std::lock_guard<std::mutex> lock(mutex);
  // As the driver: what a process has begun, its forked child cannot go on with.
  if (owner != 0 && owner != getpid()) {
    return kNotInitialized;
  }
  owner = getpid();
  return enter(__func__, false);
}

DRIVER cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}

DRIVER cuDeviceGetCount(int* count) {
  ENTER(false)
  *count = devices();
  return kSuccess;
}

DRIVER cuDeviceGet(int* device, int ordinal) {
  ENTER(false)
  *device = ordinal;
  return ordinal >= 0 && ordinal < devices() ? kSuccess : kInvalidDevice;
}

DRIVER cuDeviceGetAttribute(int* value, int attribute, int) {
  ENTER(false)
  constexpr int kMajor = 75, kMinor = 76, kTextureAlignment = 14;
  *value = attribute == kMajor ? 9 : attribute == kTextureAlignment ? 512 : attribute == kMinor ? 0 : 1;
  return kSuccess;
}

DRIVER cuDeviceGetName(char* name, int length, int) {
  ENTER(false)
  std::snprintf(name, static_cast<size_t>(length), "emulated card");
  return kSuccess;
}

DRIVER cuDeviceTotalMem_v2(size_t* bytes, int) {
  ENTER(false)
  *bytes = size_t{8} << 30;
  return kSuccess;
}

DRIVER cuDeviceComputeCapability(int* major, int* minor, int) {
  ENTER(false)
  *major = 9;
  *minor = 0;
  return kSuccess;
}

DRIVER cuDevicePrimaryCtxRetain(Context** context, int device) {
  ENTER(false)
  Context*& kept = primary[device];
  if (kept == nullptr) {
    kept = new Context{device};
  }
  *context = kept;
  return kSuccess;
}

DRIVER cuDevicePrimaryCtxRelease(int) {
  ENTER(false)
  return kSuccess;
}

DRIVER cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
  ENTER(false)
  *flags = 0;
  *active = primary.count(device) != 0;
  return kSuccess;
}

DRIVER cuCtxCreate_v2(Context** context, unsigned, int device) {
  ENTER(false)
  *context = new Context{device};
  created.insert(*context);
  stack.push_back(*context);
  return kSuccess;
}

DRIVER cuCtxDestroy_v2(Context* context) {
  ENTER(false)
  if (created.erase(context) == 0) {
    return kInvalidContext;
  }
  stack.erase(std::remove(stack.begin(), stack.end(), context), stack.end());
  delete context;
  return kSuccess;
}

DRIVER cuCtxGetCurrent(Context** context) {
  ENTER(false)
  *context = stack.empty() ? nullptr : stack.back();
  return kSuccess;
}

DRIVER cuCtxSetCurrent(Context* context) {
  ENTER(false)
  if (!stack.empty()) {
    stack.pop_back();
  }
  stack.push_back(context);
  return kSuccess;
}

DRIVER cuCtxPushCurrent_v2(Context* context) {
  ENTER(false)
  stack.push_back(context);
  return kSuccess;
}

DRIVER cuCtxPopCurrent_v2(Context** context) {
  // Also of a broken context: it must come off the stack.
  const std::lock_guard<std::mutex> lock(mutex);
  if (stack.empty()) {
    return kInvalidContext;
  }
  *context = stack.back();
  stack.pop_back();
  return kSuccess;
}

DRIVER cuCtxGetDevice(int* device) {
  ENTER(true)
  *device = stack.back()->device;
  return kSuccess;
}

DRIVER cuCtxSynchronize() {
  ENTER(true)
  flush();
  return kSuccess;
}

DRIVER cuStreamSynchronize(void*) {
  ENTER(true)
  flush();
  return kSuccess;
}

DRIVER cuMemAlloc_v2(Pointer* result, size_t bytes) {
  ENTER(true)
  return allocate(result, bytes);
}

DRIVER cuMemAllocPitch_v2(Pointer* result, size_t* pitch, size_t width, size_t height, unsigned) {
  ENTER(true)
  *pitch = (width + kPitch - 1) / kPitch * kPitch;
  return allocate(result, *pitch * height);
}

DRIVER cuMemFree_v2(Pointer pointer) {
  ENTER(true)
  flush();  // it waits for the work on the device
  return release(pointer);
}

DRIVER cuMemcpy2D_v2(const void* what) {
  ENTER(true)
  return copy(what, false);
}

DRIVER cuMemcpy2DAsync_v2(const void* what, void*) {
  ENTER(true)
  return copy(what, true);
}

DRIVER cuMemsetD8Async(Pointer pointer, unsigned char value, size_t bytes, void*) {
  ENTER(true)
  std::memset(reinterpret_cast<void*>(pointer), value, bytes);
  return kSuccess;
}

DRIVER cuGetErrorName(Result status, const char** name) {
  static const std::map<Result, const char*> kNames = {{kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
                                                       {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                       {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED"},
                                                       {100, "CUDA_ERROR_NO_DEVICE"},
                                                       {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE"},
                                                       {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"},
                                                       {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},
                                                       {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                                                       {719, "CUDA_ERROR_LAUNCH_FAILED"},
                                                       {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED"},
                                                       {999, "CUDA_ERROR_UNKNOWN"}};
  const auto found = kNames.find(status);
  *name = found == kNames.end() ? nullptr : found->second;
  return *name == nullptr ? kInvalidValue : kSuccess;
}

DRIVER cuGetErrorString(Result status, const char** text) { return cuGetErrorName(status, text); }
