// A card without a card: libcuda.so.1 and libnvcuvid.so.1 in one library, on this machine's memory, as far as FFmpeg
// and vqafast/engines/cuda_driver.py call them. What FFmpeg does with a card is then FFmpeg's own code.
//
// It cannot decode. It knows a picture by the bytes that it is given of it, and finds the pixels in the folder
// VQAFAST_CARD_PICTURES, where tests/video/card.py has put them. It is strict where a driver is: no call without a
// context in the thread, no more surfaces than asked for, no work after an error that breaks the context.
//
// Layouts of structures: nv-codec-headers 11.1, as offsets of what is used.

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

namespace {

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

std::mutex mutex;
pid_t owner = 0;  // the process that called cuInit
std::map<int, Context*> primary;
std::set<Context*> created;
std::map<Pointer, size_t> memory;
size_t used = 0, room = static_cast<size_t>(-1);
std::set<Decoder*> decoders;
std::map<std::string, Failure> failures;
std::map<std::string, long> calls;
Result broken = kSuccess;
thread_local std::vector<Context*> stack;

// VQAFAST_CARD_FAIL="FILE FUNCTION AFTER STATUS BREAKS": as card_fail, in the first process that comes so far. It makes
// FILE.
void fail_as_the_environment_says(const char* name) {
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

int devices() {
  const char* given = std::getenv("VQAFAST_CARD_DEVICES");
  return given == nullptr ? 1 : std::atoi(given);
}

// Every call comes through here: counts it, and says what keeps it from being done.
Result enter(const char* name, bool in_context) {
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

Result allocate(Pointer* result, size_t bytes) {
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

Result release(Pointer pointer) {
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
void set_field(void* structure, size_t offset, T value) {
  std::memcpy(static_cast<char*>(structure) + offset, &value, sizeof(T));
}

// What is asked for in a stream is done when somebody waits for it. The source is read at once: it was complete.
struct Pending {
  Pointer start;
  size_t pitch, width, rows;
  std::vector<char> bytes;
};
std::vector<Pending> pending;

void flush() {
  for (const Pending& write : pending) {
    for (size_t row = 0; row < write.rows; ++row) {
      std::memcpy(reinterpret_cast<char*>(write.start) + row * write.pitch, write.bytes.data() + row * write.width,
                  write.width);
    }
  }
  pending.clear();
}

// CUDA_MEMCPY2D.
Result copy(const void* what, bool later) {
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

uint64_t fnv1a(const unsigned char* data, size_t length) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ data[i]) * 0x100000001b3;
  }
  return hash;
}

// Pixels of the picture that these bytes code, at the top left of the surface; what is beyond stays unwritten.
void decode(const unsigned char* data, size_t length, const Decoder& decoder, unsigned char* surface) {
  const uint64_t hash = fnv1a(data, length);
  const char* folder = std::getenv("VQAFAST_CARD_PICTURES");
  char name[17];
  std::snprintf(name, sizeof(name), "%016llx", static_cast<unsigned long long>(hash));
  std::FILE* file = folder == nullptr ? nullptr : std::fopen((std::string(folder) + "/" + name).c_str(), "rb");
  if (file == nullptr) {
    ++calls["unknown pictures"];
    if (std::getenv("VQAFAST_CARD_UNKNOWN_BREAKS") != nullptr) {
      broken = kIllegalAddress;
    }
    return;
  }
  // Columns and rows of the picture in samples, bytes of a sample; then luma, then chroma.
  uint32_t shape[3] = {};
  bool good = std::fread(shape, sizeof(shape), 1, file) == 1 && shape[0] <= decoder.width &&
              shape[1] <= decoder.height && shape[2] == decoder.item;
  const size_t rows[2] = {shape[1], (shape[1] + 1) / 2};
  const size_t bytes[2] = {size_t{shape[0]} * shape[2], (size_t{shape[0]} + 1) / 2 * 2 * shape[2]};
  for (int plane = 0; plane < 2 && good; ++plane) {
    unsigned char* start = surface + (plane == 0 ? 0 : decoder.pitch() * decoder.height);
    for (size_t row = 0; row < rows[plane] && good; ++row) {
      good = std::fread(start + row * decoder.pitch(), bytes[plane], 1, file) == 1;
    }
  }
  std::fclose(file);
  if (!good) {
    std::fprintf(stderr, "picture %s does not fit the decoder\n", name);
    std::abort();
  }
}

Decoder* find(void* handle) {
  const auto found = decoders.find(static_cast<Decoder*>(handle));
  return found == decoders.end() ? nullptr : *found;
}

}  // namespace

#define DRIVER extern "C" __attribute__((visibility("default"))) Result
#define ENTER(in_context)                             \
  const std::lock_guard<std::mutex> lock(mutex);      \
  const Result entered = enter(__func__, in_context); \
  if (entered != kSuccess) {                          \
    return entered;                                   \
  }

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

extern "C" __attribute__((visibility("default"))) uint64_t card_hash(const unsigned char* data, size_t length) {
  return fnv1a(data, length);
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

// Codecs by the driver's numbers: what a Hopper card decodes.
DRIVER cuvidGetDecoderCaps(void* caps) {
  ENTER(true)
  constexpr int kH264 = 4, kHevc = 8, kVp8 = 9, kVp9 = 10, kAv1 = 11, k420 = 1, k444 = 3;
  const int codec = field<int>(caps, 0), chroma = field<int>(caps, 4);
  const unsigned more = field<unsigned>(caps, 8);  // bits beyond 8
  const bool deep = codec == kHevc || codec == kVp9 || codec == kAv1;
  const bool known = codec <= 3 || codec == 5 || codec == kH264 || codec == kVp8 || deep;
  const bool good = known && (chroma == k420 || (chroma == k444 && codec == kHevc)) &&
                    (more == 0 || (deep && (more == 2 || more == 4)));
  set_field<unsigned char>(caps, 24, good);
  set_field<unsigned char>(caps, 25, 7);
  set_field<unsigned>(caps, 28, good ? 8192 : 0);
  set_field<unsigned>(caps, 32, good ? 8192 : 0);
  set_field<unsigned>(caps, 36, good ? 262144 : 0);
  // Of a Hopper card: H.264 from 48x16, HEVC 144x144, VP9 128x128.
  const unsigned short least = codec == kHevc ? 144 : codec == kVp9 || codec == kAv1 ? 128 : 48;
  set_field<unsigned short>(caps, 40, least);
  set_field<unsigned short>(caps, 42, codec == kH264 || codec == kVp8 ? 16 : least);
  return kSuccess;
}

DRIVER cuvidCreateDecoder(void** handle, void* info) {
  ENTER(true)
  constexpr int kNv12 = 0, kP016 = 1;
  const auto count = field<size_t>(info, 16);
  const int format = field<int>(info, 88);
  Decoder made;
  made.width = field<size_t>(info, 96);
  made.height = field<size_t>(info, 104);
  made.item = format == kP016 ? 2 : 1;
  made.outputs = field<size_t>(info, 112);
  if (count == 0 || count > kSurfaces || (format != kNv12 && format != kP016)) {
    return kInvalidValue;
  }
  const size_t bytes = (count + made.outputs) * made.bytes();
  if (bytes > room - std::min(room, used)) {
    return kOutOfMemory;
  }
  used += bytes;
  made.surfaces.assign(count, std::vector<unsigned char>(made.bytes(), kUnwritten));
  *handle = *decoders.insert(new Decoder(std::move(made))).first;
  return kSuccess;
}

DRIVER cuvidDestroyDecoder(void* handle) {
  ENTER(true)
  Decoder* decoder = find(handle);
  if (decoder == nullptr) {
    return kInvalidHandle;
  }
  for (const Pointer pointer : decoder->mapped) {
    used += decoder->bytes();
    release(pointer);
  }
  used -= (decoder->surfaces.size() + decoder->outputs) * decoder->bytes();
  decoders.erase(decoder);
  delete decoder;
  return kSuccess;
}

DRIVER cuvidDecodePicture(void* handle, const void* picture) {
  ENTER(true)
  Decoder* decoder = find(handle);
  const int surface = field<int>(picture, 8);
  if (decoder == nullptr) {
    return kInvalidHandle;
  }
  if (surface < 0 || surface >= static_cast<int>(decoder->surfaces.size())) {
    return kInvalidValue;
  }
  decode(field<const unsigned char*>(picture, 32), field<unsigned>(picture, 24), *decoder,
         decoder->surfaces[static_cast<size_t>(surface)].data());
  return kSuccess;
}

DRIVER cuvidMapVideoFrame64(void* handle, int surface, Pointer* result, unsigned* pitch, const void*) {
  ENTER(true)
  Decoder* decoder = find(handle);
  if (decoder == nullptr) {
    return kInvalidHandle;
  }
  if (surface < 0 || surface >= static_cast<int>(decoder->surfaces.size())) {
    return kInvalidValue;
  }
  if (decoder->mapped.size() >= decoder->outputs) {
    return kInvalidHandle;
  }
  // Its memory is part of the decoder's already.
  used -= decoder->bytes();
  allocate(result, decoder->bytes());
  std::memcpy(reinterpret_cast<void*>(*result), decoder->surfaces[static_cast<size_t>(surface)].data(),
              decoder->bytes());
  decoder->mapped.insert(*result);
  *pitch = static_cast<unsigned>(decoder->pitch());
  return kSuccess;
}

DRIVER cuvidUnmapVideoFrame64(void* handle, Pointer pointer) {
  ENTER(true)
  Decoder* decoder = find(handle);
  if (decoder == nullptr || decoder->mapped.erase(pointer) == 0) {
    return kInvalidHandle;
  }
  used += decoder->bytes();
  return release(pointer);
}

// FFmpeg looks these up when it loads the libraries, and does not call them in order to decode.
#define ABSENT(name)                                              \
  DRIVER name() {                                                 \
    std::fprintf(stderr, "the emulated card has no " #name "\n"); \
    return kNotSupported;                                         \
  }
ABSENT(cuCtxSetLimit)
ABSENT(cuMemAllocManaged)
ABSENT(cuMemcpy)
ABSENT(cuMemcpyAsync)
ABSENT(cuMemcpyHtoD_v2)
ABSENT(cuMemcpyHtoDAsync_v2)
ABSENT(cuMemcpyDtoH_v2)
ABSENT(cuMemcpyDtoHAsync_v2)
ABSENT(cuMemcpyDtoD_v2)
ABSENT(cuMemcpyDtoDAsync_v2)
ABSENT(cuDevicePrimaryCtxSetFlags)
ABSENT(cuDevicePrimaryCtxReset)
ABSENT(cuStreamCreate)
ABSENT(cuStreamQuery)
ABSENT(cuStreamDestroy_v2)
ABSENT(cuStreamAddCallback)
ABSENT(cuEventCreate)
ABSENT(cuEventDestroy_v2)
ABSENT(cuEventSynchronize)
ABSENT(cuEventQuery)
ABSENT(cuEventRecord)
ABSENT(cuLaunchKernel)
ABSENT(cuLinkCreate)
ABSENT(cuLinkAddData)
ABSENT(cuLinkComplete)
ABSENT(cuLinkDestroy)
ABSENT(cuModuleLoadData)
ABSENT(cuModuleUnload)
ABSENT(cuModuleGetFunction)
ABSENT(cuModuleGetGlobal)
ABSENT(cuTexObjectCreate)
ABSENT(cuTexObjectDestroy)
ABSENT(cuGLGetDevices_v2)
ABSENT(cuGraphicsGLRegisterImage)
ABSENT(cuGraphicsUnregisterResource)
ABSENT(cuGraphicsMapResources)
ABSENT(cuGraphicsUnmapResources)
ABSENT(cuGraphicsSubResourceGetMappedArray)
ABSENT(cuGraphicsResourceGetMappedPointer_v2)
ABSENT(cuArray3DCreate_v2)
ABSENT(cuArrayDestroy)
ABSENT(cuvidGetDecodeStatus)
ABSENT(cuvidReconfigureDecoder)
ABSENT(cuvidMapVideoFrame)
ABSENT(cuvidUnmapVideoFrame)
ABSENT(cuvidCtxLockCreate)
ABSENT(cuvidCtxLockDestroy)
ABSENT(cuvidCtxLock)
ABSENT(cuvidCtxUnlock)
ABSENT(cuvidCreateVideoSource)
ABSENT(cuvidCreateVideoSourceW)
ABSENT(cuvidDestroyVideoSource)
ABSENT(cuvidSetVideoSourceState)
ABSENT(cuvidGetVideoSourceState)
ABSENT(cuvidGetSourceVideoFormat)
ABSENT(cuvidGetSourceAudioFormat)
ABSENT(cuvidCreateVideoParser)
ABSENT(cuvidParseVideoData)
ABSENT(cuvidDestroyVideoParser)
ABSENT(cuStreamWaitEvent)
ABSENT(cuArrayCreate_v2)
