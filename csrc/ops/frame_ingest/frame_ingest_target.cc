#include "ops/frame_ingest/frame_ingest_target.h"

#include <cmath>
#include <utility>

namespace vqafast::ingest {
namespace {

// channel = (clamp(R, 0, 1) - mean) / std for sample values Y, U, V as they are stored, as one affine map and two
// bounds.
void fill_color(const YuvFrame& frame, const Normalisation& normalisation, Target* target) {
  struct Luminance {
    double red, blue;
  };
  constexpr Luminance kLuminance[] = {{0.299, 0.114}, {0.2126, 0.0722}, {0.2627, 0.0593}};  // by YuvMatrix
  const auto [red, blue] = kLuminance[static_cast<int>(frame.matrix)];
  const double green = 1 - red - blue;
  const double unit = frame.msb_aligned ? std::ldexp(1.0, 16 - frame.bit_depth) : 1.0;
  const double peak = std::ldexp(1.0, frame.bit_depth) - 1, step = std::ldexp(1.0, frame.bit_depth - 8);
  const double luma_scale = 1 / (frame.full_range ? peak : 219 * step), luma_zero = frame.full_range ? 0 : 16 * step;
  const double chroma_scale = 1 / (frame.full_range ? peak : 224 * step), chroma_zero = 128 * step;
  const double cb[3] = {0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)};
  const double cr[3] = {2 * (1 - red), -2 * red * (1 - red) / green, 0};
  for (int c = 0; c < target->channels; ++c) {
    const double mean = normalisation.mean[c], inverse = 1 / static_cast<double>(normalisation.std[c]);
    double offset = -luma_scale * luma_zero;
    float* k = target->color[c];
    k[0] = static_cast<float>(luma_scale / unit * inverse);
    k[1] = k[2] = 0;
    if (target->chroma) {
      k[1] = static_cast<float>(cb[c] * chroma_scale / unit * inverse);
      k[2] = static_cast<float>(cr[c] * chroma_scale / unit * inverse);
      offset -= (cb[c] + cr[c]) * chroma_scale * chroma_zero;
    }
    k[3] = static_cast<float>((offset - mean) * inverse);
    target->low[c] = static_cast<float>((0 - mean) * inverse);
    target->high[c] = static_cast<float>((1 - mean) * inverse);
  }
}

}  // namespace

Target target_of(const Job& job) {
  const YuvFrame& frame = job.frame;
  Target target{};
  target.wide_samples = frame.y.dtype == DType::kUInt16;
  target.semi_planar = frame.semi_planar;
  target.chroma = frame.has_chroma && job.channels == 3;
  target.channels = job.channels;
  target.half = job.half;
  target.height = job.out_height;
  target.width = job.out_width;
  target.out_row = job.out_row;
  target.out_column = job.out_column;
  if (frame.rotation % 180 != 0) {
    std::swap(target.height, target.width);
    std::swap(target.out_row, target.out_column);
  }
  // Shown (row, column) is coded (height - 1 - column, row) after 90 degrees, (column, width - 1 - row) after 270.
  if (frame.rotation == 90 || frame.rotation == 180) target.out_row = -target.out_row;
  if (frame.rotation == 180 || frame.rotation == 270) target.out_column = -target.out_column;
  target.out_channel = job.out_channel;
  fill_color(frame, job.normalisation, &target);
  return target;
}

Crop to_coded(const Job& job, const Crop& shown) {
  const YuvFrame& frame = job.frame;
  const int coded_width = static_cast<int>(frame.y.shape[1]), coded_height = static_cast<int>(frame.y.shape[0]);
  std::uint8_t* const last_row = shown.out + (job.out_height - 1) * job.out_row;
  const std::ptrdiff_t last_column = (job.out_width - 1) * job.out_column;
  switch (frame.rotation) {
    case 90: return {shown.y, coded_height - shown.x - shown.width, shown.height, shown.width, shown.out + last_column};
    case 180:
      return {coded_width - shown.x - shown.width, coded_height - shown.y - shown.height, shown.width, shown.height,
              last_row + last_column};
    case 270: return {coded_width - shown.y - shown.height, shown.x, shown.height, shown.width, last_row};
    default: return shown;
  }
}

}  // namespace vqafast::ingest
