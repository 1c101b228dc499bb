#include "bindings/tensor_arg.h"

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/dlpack.h"

namespace vqafast::bindings {
namespace {

constexpr const char* kCapsuleName = "dltensor";

std::optional<DType> dtype_of(char kind, int bits) {
  if (kind == 'f' && bits == 32) return DType::kFloat32;
  if (kind == 'f' && bits == 16) return DType::kFloat16;
  if (kind == 'f' && bits == 64) return DType::kFloat64;
  if (kind == 'b' && bits == 16) return DType::kBFloat16;
  if (kind == 'u' && bits == 8) return DType::kUInt8;
  if (kind == 'u' && bits == 16) return DType::kUInt16;
  if (kind == 'i' && bits == 32) return DType::kInt32;
  if (kind == 'i' && bits == 64) return DType::kInt64;
  return std::nullopt;
}

// `text` gives the name of the dtype as its owner writes it: microseconds, so only for a message.
template <typename Text>
DType known_dtype(const char* op, const char* name, char kind, int bits, const Text& text) {
  const std::optional<DType> dtype = dtype_of(kind, bits);
  VQAFAST_CHECK(op, dtype.has_value(),
                concat(name,
                       " must be float16, bfloat16, float32, float64, uint8, uint16, int32 or int64 in native byte "
                       "order"),
                text());
  return *dtype;
}

void check_rank(const char* op, const char* name, std::int64_t ndim) {
  VQAFAST_CHECK(op, ndim <= kMaxDims, concat(name, " must have at most ", kMaxDims, " dimensions"), ndim);
}

// Kernels read whole elements in place.
void check_aligned(const char* op, const char* name, const TensorView& view) {
  const int size = item_size(view.dtype);
  bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % size == 0;
  for (int axis = 0; axis < view.ndim; ++axis)
    aligned = aligned && (view.shape[axis] <= 1 || view.stride[axis] % size == 0);
  VQAFAST_CHECK(op, aligned || element_count(view) == 0, concat(name, " must be aligned to its element size"),
                "an unaligned array");
}

std::string type_name(const py::object& object) { return py::cast<std::string>(py::type::of(object).attr("__name__")); }

std::string last_line(const py::error_already_set& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

py::object exported(const char* op, const char* name, const py::object& owner) {
  try {
    // -1: the kernel runs on the stream that the caller names, so the array must not order itself after another.
    const bool cuda = py::hasattr(owner, "__dlpack_device__") &&
                      owner.attr("__dlpack_device__")().cast<py::tuple>()[0].cast<int>() == kDLCUDA;
    return cuda ? owner.attr("__dlpack__")(py::arg("stream") = -1) : owner.attr("__dlpack__")();
  } catch (const py::error_already_set& error) {
    fail(op, concat(name, " must be exportable through __dlpack__ (detach tensors that require grad)"),
         last_line(error));
  }
}

}  // namespace

TensorArg::TensorArg(const char* op, const char* name, py::object array, bool writable) : owner_(std::move(array)) {
  if (py::isinstance<py::array>(owner_)) {
    from_numpy(op, name, py::reinterpret_borrow<py::array>(owner_), writable);
  } else if (PyCapsule_IsValid(owner_.ptr(), kCapsuleName)) {
    capsule_ = owner_;
    from_dlpack(op, name);
  } else if (py::hasattr(owner_, "__dlpack__")) {
    capsule_ = exported(op, name, owner_);
    from_dlpack(op, name);
  } else {
    fail(op, concat(name, " must be a NumPy array or have __dlpack__"), type_name(owner_));
  }
  check_aligned(op, name, view_);
}

void TensorArg::from_numpy(const char* op, const char* name, const py::array& array, bool writable) {
  const py::dtype dtype = array.dtype();
  const char order = dtype.byteorder();
  const char kind = (order == '=' || order == '|') ? dtype.kind() : '?';
  view_.dtype = known_dtype(op, name, kind, static_cast<int>(dtype.itemsize() * 8),
                            [&] { return py::cast<std::string>(py::str(dtype)); });
  check_rank(op, name, array.ndim());
  VQAFAST_CHECK(op, !writable || array.writeable(), concat(name, " must be writable"), "a read-only array");
  view_.data = const_cast<void*>(array.data());
  view_.ndim = static_cast<int>(array.ndim());
  for (int axis = 0; axis < view_.ndim; ++axis) {
    view_.shape[axis] = array.shape(axis);
    view_.stride[axis] = array.strides(axis);
  }
}

void TensorArg::from_dlpack(const char* op, const char* name) {
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule_.ptr(), kCapsuleName));
  if (!managed) throw py::error_already_set();
  // The capsule is not renamed: its own destructor then frees the tensor together with this object.
  const DLTensor& tensor = managed->dl_tensor;
  switch (tensor.device.device_type) {
    case kDLCPU:
    case kDLCUDAHost: view_.device = DeviceType::kCpu; break;
    case kDLCUDA:
    case kDLCUDAManaged: view_.device = DeviceType::kCuda; break;
    default:
      fail(op, concat(name, " must be on the CPU or a CUDA device"),
           concat("DLPack device type ", tensor.device.device_type));
  }
  view_.device_index = tensor.device.device_id;
  const char* kinds = "iuf?b";
  const int code = tensor.dtype.code;
  const char kind = (code <= 4 && tensor.dtype.lanes == 1) ? kinds[code] : '?';
  const auto text = [&] {
    return py::hasattr(owner_, "dtype") ? py::cast<std::string>(py::str(owner_.attr("dtype")))
                                        : concat("DLPack type code ", code);
  };
  view_.dtype = known_dtype(op, name, kind, tensor.dtype.bits, text);
  check_rank(op, name, tensor.ndim);
  view_.ndim = tensor.ndim;
  view_.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  const int size = item_size(view_.dtype);
  std::int64_t packed = size;
  for (int axis = view_.ndim - 1; axis >= 0; --axis) {
    view_.shape[axis] = tensor.shape[axis];
    view_.stride[axis] = tensor.strides ? tensor.strides[axis] * size : packed;
    packed *= tensor.shape[axis];
  }
}

std::optional<TensorArg> optional_arg(const char* op, const char* name, const py::object& array) {
  if (array.is_none()) return std::nullopt;
  return TensorArg(op, name, array);
}

TensorArg output_arg(const char* op, const char* name, const py::object& out, DType dtype,
                     std::initializer_list<std::int64_t> shape) {
  if (out.is_none()) {
    std::vector<py::ssize_t> dims(shape.begin(), shape.end());
    return TensorArg(op, name, py::array(py::dtype(name_of(dtype)), dims), true);
  }
  TensorArg arg(op, name, out, true);
  const TensorView& view = arg.view();
  TensorView wanted;
  wanted.ndim = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), wanted.shape);
  const bool same = view.ndim == wanted.ndim && std::equal(shape.begin(), shape.end(), view.shape);
  VQAFAST_CHECK(op, same, concat(name, " must have shape ", shape_text(wanted)), concat("shape ", shape_text(view)));
  check_dtype(op, name, view, dtype);
  VQAFAST_CHECK(op, is_contiguous(view), concat(name, " must be C-contiguous"), "a strided array");
  return arg;
}

Context context_arg(const char* op, int threads, std::uintptr_t stream) {
  VQAFAST_CHECK(op, threads >= 0, "threads must be 0 (all processors) or more", threads);
  return {threads, reinterpret_cast<void*>(stream)};
}

}  // namespace vqafast::bindings
