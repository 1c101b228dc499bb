// fragment_sample: FAST-VQA's grid mini-patch sampling straight from native YUV planes. One patch of native pixels from
// each cell of a grid, tiled into one picture; nothing else of the frame is read.
//
//   Y, U, V     as frame_ingest.h
//   positions   (GH, GW, 2) int32: x, y of the patch of grid row i, column j; display orientation, luma samples;
//               on the CPU
//   out         (C, GH * p, GW * p) or (GH * p, GW * p, C) float32 or float16
//               tile (i, j) is the p x p picture at positions[i, j], as frame_ingest gives it at scale 1
//
// Chroma of a patch is interpolated from the frame, not from the patch alone.
#pragma once

#include <cstddef>

#include "core/context.h"
#include "core/tensor_view.h"
#include "ops/frame_ingest/frame_ingest.h"

namespace vqafast {

// Bytes of workspace that fragment_sample needs with these very arguments. Checks all of them.
std::size_t fragment_sample_workspace(const Context& context, const YuvFrame& frame, const TensorView& positions,
                                      int patch, bool nhwc, const Normalisation& normalisation, const TensorView& out);

// `workspace` is aligned to 64 bytes. `out` may have any strides.
void fragment_sample(const Context& context, const YuvFrame& frame, const TensorView& positions, int patch, bool nhwc,
                     const Normalisation& normalisation, void* workspace, const TensorView& out);

}  // namespace vqafast
