#include "ops/fragment_sample/fragment_sample.h"

#include "core/check.h"
#include "core/dispatch.h"
#include "ops/frame_ingest/frame_ingest_run.h"

namespace vqafast {
namespace {

std::int32_t position_at(const TensorView& positions, std::int64_t row, std::int64_t column, int axis) {
  return *reinterpret_cast<const std::int32_t*>(positions.as<const char>() + row * positions.stride[0] +
                                                column * positions.stride[1] + axis * positions.stride[2]);
}

ingest::Job make_job(const YuvFrame& frame, const TensorView& positions, int patch, bool nhwc,
                     const Normalisation& normalisation, const TensorView& out) {
  const std::ptrdiff_t out_row = out.stride[nhwc ? 0 : 1], out_column = out.stride[nhwc ? 1 : 2];
  const auto crop = [&positions, patch, out_row, out_column, &out](std::int64_t k) {
    const std::int64_t row = k / positions.shape[1], column = k % positions.shape[1];
    return ingest::Crop{position_at(positions, row, column, 0), position_at(positions, row, column, 1), patch, patch,
                        out.as<std::uint8_t>() + row * patch * out_row + column * patch * out_column};
  };
  return {"fragment_sample",
          frame,
          positions.shape[0] * positions.shape[1],
          crop,
          patch,
          patch,
          static_cast<int>(out.shape[nhwc ? 2 : 0]),
          out.dtype == DType::kFloat16,
          out_row,
          out_column,
          out.stride[nhwc ? 2 : 0],
          normalisation};
}

void check_arguments(const YuvFrame& frame, const TensorView& positions, int patch, bool nhwc,
                     const Normalisation& normalisation, const TensorView& out) {
  const char* op = "fragment_sample";
  check_yuv_frame(op, frame);
  check_frame_device(op, frame, out, kOpHasCuda);
  check_on_cpu(op, "positions", positions);
  check_ndim(op, "positions", positions, 3, "(GH, GW, 2)");
  check_dtype(op, "positions", positions, DType::kInt32);
  VQAFAST_CHECK(op, positions.shape[0] >= 1 && positions.shape[1] >= 1 && positions.shape[2] == 2,
                "positions must have shape (GH, GW, 2) with GH and GW at least 1",
                concat("shape ", shape_text(positions)));
  const bool turned = frame.rotation % 180 != 0;
  const std::int64_t width = frame.y.shape[turned ? 0 : 1], height = frame.y.shape[turned ? 1 : 0];
  VQAFAST_CHECK(op, patch >= 1 && patch <= width && patch <= height,
                concat("patch must be at least 1 and fit in the ", width, "x", height, " picture"), patch);
  for (std::int64_t row = 0; row < positions.shape[0]; ++row) {
    for (std::int64_t column = 0; column < positions.shape[1]; ++column) {
      const std::int64_t x = position_at(positions, row, column, 0), y = position_at(positions, row, column, 1);
      VQAFAST_CHECK(
          op, x >= 0 && y >= 0 && x + patch <= width && y + patch <= height,
          concat("the patch of cell (", row, ", ", column, ") must lie inside the ", width, "x", height, " picture"),
          concat("x ", x, ", y ", y, " with patch ", patch));
    }
  }
  check_ndim(op, "out", out, 3, nhwc ? "(H, W, C)" : "(C, H, W)");
  VQAFAST_CHECK(op, out.dtype == DType::kFloat32 || out.dtype == DType::kFloat16, "out must be float32 or float16",
                name_of(out.dtype));
  const std::int64_t channels = out.shape[nhwc ? 2 : 0];
  VQAFAST_CHECK(op, channels == 1 || channels == 3, "out must have 1 (luma) or 3 (RGB) channels",
                concat("shape ", shape_text(out)));
  VQAFAST_CHECK(
      op,
      out.shape[nhwc ? 0 : 1] == positions.shape[0] * patch && out.shape[nhwc ? 1 : 2] == positions.shape[1] * patch,
      concat("out must hold ", positions.shape[0] * patch, " rows of ", positions.shape[1] * patch, " pixels"),
      concat("shape ", shape_text(out)));
  check_normalisation(op, normalisation, static_cast<int>(channels));
}

}  // namespace

std::size_t fragment_sample_workspace(const Context& context, const YuvFrame& frame, const TensorView& positions,
                                      int patch, bool nhwc, const Normalisation& normalisation, const TensorView& out) {
  check_arguments(frame, positions, patch, nhwc, normalisation, out);
  return ingest::workspace_bytes(context, make_job(frame, positions, patch, nhwc, normalisation, out));
}

void fragment_sample(const Context& context, const YuvFrame& frame, const TensorView& positions, int patch, bool nhwc,
                     const Normalisation& normalisation, void* workspace, const TensorView& out) {
  ingest::run(context, make_job(frame, positions, patch, nhwc, normalisation, out), workspace);
}

}  // namespace vqafast
