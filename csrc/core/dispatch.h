// Device selection for every op, and the only place that says "not built".
#pragma once

#include <initializer_list>

#include "core/check.h"
#include "core/context.h"
#include "core/cpu_target.h"

namespace vqafast {

struct NamedTensor {
  const char* name;
  const TensorView* tensor;  // may be null: an optional argument that was not given
};

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;
};

// The device all tensors share. InvalidArgument when they do not; Unsupported when this build has no kernel for it.
inline Device common_device(const char* op, std::initializer_list<NamedTensor> tensors, bool has_cuda) {
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
  if (!first) return {};
  const Device device{first->tensor->device, first->tensor->device_index};
  if (device.type == DeviceType::kCuda && !has_cuda) {
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

inline Context on_device(Context context, const Device& device) {
  context.device = device.index;
  return context;
}

}  // namespace vqafast

// VQAFAST_DECLARE_CUDA(void scale_cuda(const Context&, const Args&)) declares what <op>_cuda.cu defines.
// VQAFAST_RUN(scale, device, context, args) runs scale_cuda or this CPU's scale_cpu. Where this build has no CUDA
// kernel for the op, common_device has already refused.
#ifdef VQAFAST_OP_HAS_CUDA
#define VQAFAST_DECLARE_CUDA(...) __VA_ARGS__;
#define VQAFAST_RUN(op, where, context, args)                                                           \
  ((where).type == ::vqafast::DeviceType::kCuda ? op##_cuda(::vqafast::on_device(context, where), args) \
                                                : VQAFAST_SELECT_KERNEL(op##_cpu)(context, args))
#else
#define VQAFAST_DECLARE_CUDA(...)
#define VQAFAST_RUN(op, where, context, args) ((void)(where), VQAFAST_SELECT_KERNEL(op##_cpu)(context, args))
#endif
