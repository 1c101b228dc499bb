// A non-owning view of an n-dimensional array on some device: what a kernel's caller hands over.
#pragma once

#include <cstdint>

namespace vqafast {

enum class DType : std::uint8_t { kFloat32, kFloat16, kBFloat16, kFloat64, kUInt8, kUInt16, kInt32, kInt64 };
enum class DeviceType : std::uint8_t { kCpu, kCuda };

constexpr int kMaxDims = 6;

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  DeviceType device = DeviceType::kCpu;
  int device_index = 0;
  int ndim = 0;
  std::int64_t shape[kMaxDims] = {};
  std::int64_t stride[kMaxDims] = {};  // in bytes; any sign, 0 for a broadcast axis

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

constexpr int item_size(DType dtype) {
  switch (dtype) {
    case DType::kUInt8: return 1;
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kUInt16: return 2;
    case DType::kFloat32:
    case DType::kInt32: return 4;
    case DType::kFloat64:
    case DType::kInt64: return 8;
  }
  return 0;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float32";
    case DType::kFloat16: return "float16";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat64: return "float64";
    case DType::kUInt8: return "uint8";
    case DType::kUInt16: return "uint16";
    case DType::kInt32: return "int32";
    case DType::kInt64: return "int64";
  }
  return "?";
}

constexpr std::int64_t element_count(const TensorView& t) {
  std::int64_t count = 1;
  for (int axis = 0; axis < t.ndim; ++axis) count *= t.shape[axis];
  return count;
}

constexpr bool is_contiguous(const TensorView& t) {
  if (element_count(t) == 0) return true;
  std::int64_t expected = item_size(t.dtype);
  for (int axis = t.ndim - 1; axis >= 0; --axis) {
    if (t.shape[axis] != 1 && t.stride[axis] != expected) return false;
    expected *= t.shape[axis];
  }
  return true;
}

}  // namespace vqafast
