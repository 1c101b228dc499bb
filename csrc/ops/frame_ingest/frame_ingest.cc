#include "ops/frame_ingest/frame_ingest.h"

#include <limits>

#include "core/check.h"
#include "core/dispatch.h"
#include "ops/frame_ingest/frame_ingest_run.h"

namespace vqafast {
namespace {

void check_plane(const char* op, const char* name, const TensorView& plane, const TensorView& y, std::int64_t rows,
                 std::int64_t columns, bool pairs) {
  check_ndim(op, name, plane, pairs ? 3 : 2, pairs ? "(rows, samples, 2)" : "(rows, samples)");
  check_dtype(op, name, plane, y.dtype);
  VQAFAST_CHECK(op, plane.shape[0] == rows && plane.shape[1] == columns && (!pairs || plane.shape[2] == 2),
                concat(name, " must have ", rows, " rows of ", columns, pairs ? " pairs" : "", " samples"),
                concat("shape ", shape_text(plane)));
  const std::int64_t item = item_size(plane.dtype);
  const bool packed =
      (plane.shape[1] == 1 || plane.stride[1] == (pairs ? 2 : 1) * item) && (!pairs || plane.stride[2] == item);
  VQAFAST_CHECK(op, packed, concat("samples of a row of ", name, " must be adjacent in memory"),
                concat("a stride of ", plane.stride[1], " bytes for samples of ", item));
}

std::int64_t subsampled(std::int64_t length, int shift) { return (length + (std::int64_t{1} << shift) - 1) >> shift; }

ingest::Job make_job(const YuvFrame& frame, const TensorView& crops, bool nhwc, const Normalisation& normalisation,
                     const TensorView& out) {
  const int rows = nhwc ? 1 : 2;
  const auto crop = [&crops, &out](std::int64_t k) {
    const char* row = crops.as<const char>() + k * crops.stride[0];
    const auto at = [row, &crops](int i) { return *reinterpret_cast<const std::int32_t*>(row + i * crops.stride[1]); };
    return ingest::Crop{at(0), at(1), at(2), at(3), out.as<std::uint8_t>() + k * out.stride[0]};
  };
  return {"frame_ingest",
          frame,
          crops.shape[0],
          crop,
          static_cast<int>(out.shape[rows]),
          static_cast<int>(out.shape[rows + 1]),
          static_cast<int>(out.shape[nhwc ? 3 : 1]),
          out.dtype == DType::kFloat16,
          out.stride[rows],
          out.stride[rows + 1],
          out.stride[nhwc ? 3 : 1],
          normalisation};
}

void check_arguments(const YuvFrame& frame, const TensorView& crops, bool nhwc, const Normalisation& normalisation,
                     const TensorView& out) {
  const char* op = "frame_ingest";
  check_yuv_frame(op, frame);
  check_frame_device(op, frame, out, kOpHasCuda);
  check_on_cpu(op, "crops", crops);
  check_ndim(op, "crops", crops, 2, "(K, 4)");
  check_dtype(op, "crops", crops, DType::kInt32);
  VQAFAST_CHECK(op, crops.shape[0] >= 1 && crops.shape[1] == 4, "crops must have shape (K, 4) with K at least 1",
                concat("shape ", shape_text(crops)));
  const bool turned = frame.rotation % 180 != 0;
  const std::int64_t width = frame.y.shape[turned ? 0 : 1], height = frame.y.shape[turned ? 1 : 0];
  for (std::int64_t k = 0; k < crops.shape[0]; ++k) {
    const char* row = crops.as<const char>() + k * crops.stride[0];
    const auto at = [row, &crops](int i) -> std::int64_t {
      return *reinterpret_cast<const std::int32_t*>(row + i * crops.stride[1]);
    };
    VQAFAST_CHECK(
        op, at(0) >= 0 && at(1) >= 0 && at(2) >= 1 && at(3) >= 1 && at(0) + at(2) <= width && at(1) + at(3) <= height,
        concat("crop ", k, " must be non-empty and lie inside the ", width, "x", height, " picture"),
        concat("x ", at(0), ", y ", at(1), ", width ", at(2), ", height ", at(3)));
  }
  check_ndim(op, "out", out, 4, nhwc ? "(K, h, w, C)" : "(K, C, h, w)");
  VQAFAST_CHECK(op, out.dtype == DType::kFloat32 || out.dtype == DType::kFloat16, "out must be float32 or float16",
                name_of(out.dtype));
  const std::int64_t channels = out.shape[nhwc ? 3 : 1];
  VQAFAST_CHECK(op, out.shape[0] == crops.shape[0], concat("out must hold ", crops.shape[0], " crops"),
                concat("shape ", shape_text(out)));
  VQAFAST_CHECK(op, channels == 1 || channels == 3, "out must have 1 (luma) or 3 (RGB) channels",
                concat("shape ", shape_text(out)));
  for (int axis = 0; axis < 4; ++axis) {
    VQAFAST_CHECK(op, out.shape[axis] >= 1 && out.shape[axis] <= (1 << 24), "sides of out must lie in 1..2^24",
                  concat("shape ", shape_text(out)));
  }
  check_normalisation(op, normalisation, static_cast<int>(channels));
}

}  // namespace

void check_yuv_frame(const char* op, const YuvFrame& frame) {
  VQAFAST_CHECK(op, frame.bit_depth >= 8 && frame.bit_depth <= 16, "bit_depth must lie in 8..16", frame.bit_depth);
  VQAFAST_CHECK(op, frame.chroma_shift_x >= 0 && frame.chroma_shift_x <= 2, "chroma_shift_x must lie in 0..2",
                frame.chroma_shift_x);
  VQAFAST_CHECK(op, frame.chroma_shift_y >= 0 && frame.chroma_shift_y <= 2, "chroma_shift_y must lie in 0..2",
                frame.chroma_shift_y);
  VQAFAST_CHECK(op, frame.rotation == 0 || frame.rotation == 90 || frame.rotation == 180 || frame.rotation == 270,
                "rotation must be 0, 90, 180 or 270", frame.rotation);
  const DType wanted = frame.bit_depth == 8 ? DType::kUInt8 : DType::kUInt16;
  VQAFAST_CHECK(op, frame.y.dtype == wanted, concat("planes of ", frame.bit_depth, " bits must be ", name_of(wanted)),
                name_of(frame.y.dtype));
  check_ndim(op, "plane Y", frame.y, 2, "(rows, samples)");
  const std::int64_t rows = frame.y.shape[0], columns = frame.y.shape[1];
  VQAFAST_CHECK(op, rows >= 1 && columns >= 1 && rows <= (1 << 24) && columns <= (1 << 24),
                "sides of Y must lie in 1..2^24", concat("shape ", shape_text(frame.y)));
  check_plane(op, "plane Y", frame.y, frame.y, rows, columns, false);
  if (!frame.has_chroma) return;
  const std::int64_t chroma_rows = subsampled(rows, frame.chroma_shift_y);
  const std::int64_t chroma_columns = subsampled(columns, frame.chroma_shift_x);
  check_plane(op, frame.semi_planar ? "plane UV" : "plane U", frame.u, frame.y, chroma_rows, chroma_columns,
              frame.semi_planar);
  if (!frame.semi_planar) check_plane(op, "plane V", frame.v, frame.y, chroma_rows, chroma_columns, false);
}

void check_frame_device(const char* op, const YuvFrame& frame, const TensorView& out, bool has_cuda) {
  const bool u = frame.has_chroma, v = u && !frame.semi_planar;
  common_device(
      op, {{"y", &frame.y}, {v ? "u" : "uv", u ? &frame.u : nullptr}, {"v", v ? &frame.v : nullptr}, {"out", &out}},
      has_cuda);
}

void check_on_cpu(const char* op, const char* name, const TensorView& t) {
  VQAFAST_CHECK(op, t.device == DeviceType::kCpu, concat(name, " must be on the CPU, whatever the frame's device"),
                concat("cuda:", t.device_index));
}

void check_normalisation(const char* op, const Normalisation& normalisation, int channels) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (int c = 0; c < channels; ++c) {
    const float mean = normalisation.mean[c], std = normalisation.std[c];
    VQAFAST_CHECK(op, mean >= -kLargest && mean <= kLargest, "mean must be finite", mean);
    VQAFAST_CHECK(op, std > 0 && std <= kLargest, "std must be positive and finite", std);
  }
}

std::size_t frame_ingest_workspace(const Context& context, const YuvFrame& frame, const TensorView& crops, bool nhwc,
                                   const Normalisation& normalisation, const TensorView& out) {
  check_arguments(frame, crops, nhwc, normalisation, out);
  return ingest::workspace_bytes(context, make_job(frame, crops, nhwc, normalisation, out));
}

void frame_ingest(const Context& context, const YuvFrame& frame, const TensorView& crops, bool nhwc,
                  const Normalisation& normalisation, void* workspace, const TensorView& out) {
  ingest::run(context, make_job(frame, crops, nhwc, normalisation, out), workspace);
}

}  // namespace vqafast
