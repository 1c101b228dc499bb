// Errors, and the one way to raise them: `op: what must hold, got what`.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "core/tensor_view.h"

namespace vqafast {

struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <typename Got>
[[noreturn]] void fail(const char* op, const std::string& must, const Got& got) {
  throw InvalidArgument(concat(op, ": ", must, ", got ", got));
}

// VQAFAST_CHECK("cgin", eps > 0, "eps must be positive", eps);
// A macro, because `must` and `got` may cost more to write than a small op takes: they are evaluated only on failure.
#define VQAFAST_CHECK(op, holds, must, got)             \
  do {                                                  \
    if (!(holds)) ::vqafast::fail((op), (must), (got)); \
  } while (false)

inline std::string shape_text(const TensorView& t) {
  std::ostringstream text;
  text << '(';
  for (int axis = 0; axis < t.ndim; ++axis) text << (axis ? ", " : "") << t.shape[axis];
  if (t.ndim == 1) text << ',';
  text << ')';
  return text.str();
}

inline void check_ndim(const char* op, const char* name, const TensorView& t, int ndim, const char* axes) {
  VQAFAST_CHECK(op, t.ndim == ndim, concat(name, " must have ", ndim, " dimension", ndim == 1 ? " " : "s ", axes),
                concat("shape ", shape_text(t)));
}

inline void check_dtype(const char* op, const char* name, const TensorView& t, DType wanted) {
  VQAFAST_CHECK(op, t.dtype == wanted, concat(name, " must be ", name_of(wanted)), name_of(t.dtype));
}

// `other_name` names the tensor whose shape is wanted: "y must have the shape of x (2, 3), got shape (2, 4)".
inline void check_same_shape(const char* op, const char* name, const TensorView& t, const char* other_name,
                             const TensorView& other) {
  bool same = t.ndim == other.ndim;
  for (int axis = 0; same && axis < t.ndim; ++axis) same = t.shape[axis] == other.shape[axis];
  VQAFAST_CHECK(op, same, concat(name, " must have the shape of ", other_name, " ", shape_text(other)),
                concat("shape ", shape_text(t)));
}

// `lengths` (B,) int64, each in 1..T. Values on a CUDA device are not read here, which would wait for it: kernels clamp
// them.
inline void check_lengths(const char* op, const TensorView& lengths, std::int64_t batch, std::int64_t time) {
  VQAFAST_CHECK(op, lengths.dtype == DType::kInt64, "lengths must be int64", name_of(lengths.dtype));
  VQAFAST_CHECK(op, lengths.ndim == 1 && lengths.shape[0] == batch,
                concat("lengths must have shape (", batch, ",), one length per sample"),
                concat("shape ", shape_text(lengths)));
  if (lengths.device == DeviceType::kCuda) return;
  for (std::int64_t b = 0; b < batch; ++b) {
    const char* at = lengths.as<const char>() + b * lengths.stride[0];
    const std::int64_t length = *reinterpret_cast<const std::int64_t*>(at);
    VQAFAST_CHECK(op, length >= 1 && length <= time, concat("lengths must lie in 1..", time), length);
  }
}

}  // namespace vqafast
