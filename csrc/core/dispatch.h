// Device selection for every op, and the only place that says "not built".
#pragma once

#include <initializer_list>

#include "core/check.h"
#include "core/cpu_target.h"

namespace vqafast {

struct NamedTensor {
  const char* name;
  const TensorView* tensor;  // may be null: an optional argument that was not given
};

// The device all tensors share. InvalidArgument when they do not; Unsupported when this build has no kernel for it.
inline DeviceType common_device(const char* op, std::initializer_list<NamedTensor> tensors, bool has_cuda) {
  const NamedTensor* first = nullptr;
  const auto text = [](const TensorView& t) {
    return t.device == DeviceType::kCpu ? std::string("cpu") : concat("cuda:", t.device_index);
  };
  const auto same_device = [](const TensorView& a, const TensorView& b) {
    return a.device == b.device && (a.device == DeviceType::kCpu || a.device_index == b.device_index);
  };
  for (const NamedTensor& item : tensors) {
    if (!item.tensor) continue;
    if (!first) first = &item;
    VQAFAST_CHECK(op, same_device(*item.tensor, *first->tensor),
                  concat(item.name, " must be on the device of ", first->name, " (", text(*first->tensor), ")"),
                  text(*item.tensor));
  }
  const DeviceType device = first ? first->tensor->device : DeviceType::kCpu;
  if (device == DeviceType::kCuda && !has_cuda) {
    throw Unsupported(concat(op, ": tensors must be on the CPU (this build has no CUDA kernel for ", op, "), got ",
                             text(*first->tensor)));
  }
  return device;
}

#ifdef VQAFAST_OP_HAS_CUDA
constexpr bool kOpHasCuda = true;
#else
constexpr bool kOpHasCuda = false;
#endif

}  // namespace vqafast
