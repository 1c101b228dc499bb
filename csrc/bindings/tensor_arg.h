// Python arrays as TensorViews: NumPy arrays directly, anything else through __dlpack__ or as the capsule it gives.
// Never copies.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "core/check.h"
#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast::bindings {

namespace py = pybind11;

// Keeps the array alive while its view is in use. Make it with the GIL held, use view() without.
class TensorArg {
 public:
  // `op` and `name` go into the error message. Writable arguments are outputs.
  TensorArg(const char* op, const char* name, py::object array, bool writable = false);

  const TensorView& view() const { return view_; }
  const py::object& object() const { return owner_; }

 private:
  void from_numpy(const char* op, const char* name, const py::array& array, bool writable);
  void from_dlpack(const char* op, const char* name);

  py::object owner_;
  py::object capsule_;
  TensorView view_;
};

// None gives no value.
std::optional<TensorArg> optional_arg(const char* op, const char* name, const py::object& array);

inline const TensorView* view_or_null(const std::optional<TensorArg>& arg) { return arg ? &arg->view() : nullptr; }

// The caller's `out`, checked for shape and dtype and C-contiguity, or a new NumPy array when it is None.
TensorArg output_arg(const char* op, const char* name, const py::object& out, DType dtype,
                     std::initializer_list<std::int64_t> shape);

// Where an op runs. A negative number of threads is an error. `stream` is a cudaStream_t as Python hands it on.
Context context_arg(const char* op, int threads, std::uintptr_t stream);

}  // namespace vqafast::bindings
