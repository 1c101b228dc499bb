// frame_ingest: native YUV planes -> normalised RGB or luma, cropped, resized and rotated in one pass.
//
//   Y, U, V   (rows, samples) uint8 or uint16, any row stride     frame.y, frame.u, frame.v
//   crops     (K, 4) int32: x, y, width, height; on the CPU       display orientation, luma samples of the coded grid
//   out       (K, C, h, w) or (K, h, w, C) float32 or float16     C = 3: R, G, B; C = 1: luma Y' of full range
//
// 1. Resample. Each plane is resampled at its own resolution, straight to h x w, by a separable triangle filter. With
//    s = crop width / w, the centre of output column i is X = x + (i + 0.5) s in luma samples (sample j spans j..j+1),
//    and in a plane subsampled by 2^a it is X (luma), (X - 0.5) / 2^a + 0.5 (chroma: sited on the left luma sample),
//    and for rows Y / 2^b (chroma: centred between luma rows). Weights are max(0, 1 - |j + 0.5 - centre| / f) with f =
//    max(1, s / 2^a), over the samples of the plane (not of the crop: a crop is a window on the frame), divided by
//    their sum. So s = 1 copies luma samples and interpolates chroma bilinearly, s < 1 is bilinear interpolation and
//    s > 1 is antialiased, as Pillow's BILINEAR.
// 2. Convert. Samples to Y' in 0..1 and Cb, Cr in -0.5..0.5 by bit depth and range, then the inverse matrix. Planes
//    without chroma give R = G = B = Y'.
// 3. Clip to 0..1, subtract mean, divide by std.
//
// Every output is computed independently: results do not depend on the number of threads. Planes and `out` may be on a
// CUDA device: then the work is queued on the context's stream, and no workspace is needed.
#pragma once

#include <cstddef>

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

enum class YuvMatrix { kBt601, kBt709, kBt2020 };

struct YuvFrame {
  TensorView y;  // (height, width)
  TensorView
      u;  // (ceil(height / 2^shift_y), ceil(width / 2^shift_x)), or (.., .., 2) holding U and V; unused when gray
  TensorView v;              // as u; unused when semi-planar or gray
  int bit_depth = 8;         // 8: uint8; 9..16: uint16
  bool msb_aligned = false;  // the significant bits are the high ones of 16
  int chroma_shift_x = 1;    // 0..2
  int chroma_shift_y = 1;    // 0..2
  bool semi_planar = false;
  bool has_chroma = true;
  YuvMatrix matrix = YuvMatrix::kBt709;
  bool full_range = false;
  int rotation = 0;  // 0, 90, 180, 270: degrees clockwise that the coded picture turns for display
};

struct Normalisation {
  float mean[3] = {0, 0, 0};  // in 0..1, per output channel
  float std[3] = {1, 1, 1};   // positive
};

// InvalidArgument in the words of the arguments, when anything above does not hold.
void check_yuv_frame(const char* op, const YuvFrame& frame);
// All planes and `out` on one device, for which the build has a kernel.
void check_frame_device(const char* op, const YuvFrame& frame, const TensorView& out, bool has_cuda);
// Crops and positions are parameters: the host checks them and hands them to the kernel by value.
void check_on_cpu(const char* op, const char* name, const TensorView& t);
void check_normalisation(const char* op, const Normalisation& normalisation, int channels);

// Bytes of workspace that frame_ingest needs with these very arguments. Checks all of them.
std::size_t frame_ingest_workspace(const Context& context, const YuvFrame& frame, const TensorView& crops, bool nhwc,
                                   const Normalisation& normalisation, const TensorView& out);

// `workspace` is aligned to 64 bytes. `out` may have any strides.
void frame_ingest(const Context& context, const YuvFrame& frame, const TensorView& crops, bool nhwc,
                  const Normalisation& normalisation, void* workspace, const TensorView& out);

}  // namespace vqafast
