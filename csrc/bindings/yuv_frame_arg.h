// The frame and normalisation arguments that frame_ingest and fragment_sample share.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "bindings/tensor_arg.h"
#include "ops/frame_ingest/frame_ingest.h"

namespace vqafast::bindings {

// (bit_depth, msb_aligned, chroma_shift_x, chroma_shift_y, semi_planar, has_chroma, matrix, full_range, rotation)
struct YuvFrameArg {
  std::vector<TensorArg> planes;  // keep the arrays alive
  YuvFrame frame;
};

inline YuvFrameArg yuv_frame_arg(const char* op, const py::tuple& planes, const py::tuple& format) {
  YuvFrameArg arg;
  YuvFrame& f = arg.frame;
  f.bit_depth = format[0].cast<int>();
  f.msb_aligned = format[1].cast<bool>();
  f.chroma_shift_x = format[2].cast<int>();
  f.chroma_shift_y = format[3].cast<int>();
  f.semi_planar = format[4].cast<bool>();
  f.has_chroma = format[5].cast<bool>();
  f.matrix = static_cast<YuvMatrix>(format[6].cast<int>());
  f.full_range = format[7].cast<bool>();
  f.rotation = format[8].cast<int>();
  const char* const names[] = {"plane Y", f.semi_planar ? "plane UV" : "plane U", "plane V"};
  TensorView* const views[] = {&f.y, &f.u, &f.v};
  const std::size_t wanted = !f.has_chroma ? 1 : f.semi_planar ? 2 : 3;
  VQAFAST_CHECK(op, planes.size() == wanted, concat("planes must hold ", wanted, wanted == 1 ? " array" : " arrays"),
                planes.size());
  arg.planes.reserve(wanted);
  for (std::size_t i = 0; i < wanted; ++i) {
    arg.planes.emplace_back(op, names[i], planes[i]);
    *views[i] = arg.planes.back().view();
  }
  return arg;
}

inline Normalisation normalisation_arg(const char* op, const std::vector<float>& mean, const std::vector<float>& std,
                                       std::size_t channels) {
  VQAFAST_CHECK(op, mean.size() == channels, concat("mean must hold ", channels, channels == 1 ? " value" : " values"),
                mean.size());
  VQAFAST_CHECK(op, std.size() == channels, concat("std must hold ", channels, channels == 1 ? " value" : " values"),
                std.size());
  Normalisation n;
  for (std::size_t c = 0; c < channels; ++c) {
    n.mean[c] = mean[c];
    n.std[c] = std[c];
  }
  return n;
}

// A caller's array of exactly this shape, with any strides, or a new one.
inline TensorArg strided_output_arg(const char* op, const py::object& out, DType dtype,
                                    std::initializer_list<std::int64_t> shape) {
  if (out.is_none()) return output_arg(op, "out", out, dtype, shape);
  TensorArg arg(op, "out", out, true);
  TensorView wanted;
  for (const std::int64_t length : shape) wanted.shape[wanted.ndim++] = length;
  if (arg.view().ndim != wanted.ndim) check_ndim(op, "out", arg.view(), wanted.ndim, shape_text(wanted).c_str());
  check_same_shape(op, "out", arg.view(), "the result", wanted);
  check_dtype(op, "out", arg.view(), dtype);
  return arg;
}

class Workspace {
 public:
  explicit Workspace(std::size_t bytes) : data_(::operator new(bytes, kAlignment)) {}
  void* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<void, Free> data_;
};

}  // namespace vqafast::bindings
