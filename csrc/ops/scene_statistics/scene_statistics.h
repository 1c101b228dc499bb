// scene_statistics: natural-scene statistics of luma pairs -> (N, 176). docs: python/vqafast/ops/scene_statistics.py
//
//   frames (N, 2, H, W) float32, any strides: luma in 0..1 of a picture and of the one after it; H, W >= 96
//   out    (N, 176) float32, contiguous: for each stage the means of its channels over the map, then their biased
//          standard deviations
//
// With m(.) the map that is measured, I = 255 m(now) - 127.5 and D = 255 (m(after) - m(now)), halved by 2x2 means from
// scale to scale:
//
//   map        | m at (y, x) of a picture Y
//   luma       | Y
//   gradient   | sqrt((Y(y, x+1) - Y)^2 + (Y(y+1, x) - Y)^2); a step over the edge is 0
//   detail     | 1/2 + Y - (Y(y, x-1) + Y(y, x+1) + Y(y-1, x) + Y(y+1, x)) / 4, edges repeated
//   difference | 1/2 + (after - now) / 2 for both pictures, so that D is 0
//
// m and v are the mean and variance under a 7x7 Gaussian of sigma 7/6, s = sqrt(v + 0.001), M = (I - m) / (s + 1);
// M, s, I, D stand at (y, x), 4 pixels or more from every edge. below(a, t) = 1 / (1 + (a / t)^4).
//
//   stage      | channels | formula
//   scale 0..3 |        0 | G = |I(y, x+1) - I| + |I(y+1, x) - I|
//              |     1, 2 | s, sqrt(s)
//              |     3, 4 | |M|, M^2
//              |     5, 6 | M M(y, x+1), M M(y+1, x)
//              |        7 | M (M(y+1, x+1) + M(y+1, x-1))
//              |     8, 9 | below(s, 1), below(s, 3)
//              |       10 | below(G, 24)
//              |   11, 12 | |D|, sqrt(|D|)
//   DCT        |    0..9  | mean of |C(u, v)| over u + v = 1, 2, .., 9, >= 10; C: orthonormal 8x8 DCT of a block of I
//              |   10..19 | mean of below(C(u, v), 1.5) over the same
//   grid       |    0..15 | phase p: mean over 16 rows of E(x = 16j + p) along rows, plus the same down columns, with
//              |          | E(x) = |I(x+2) - I(x+1)| - (|I(x+1) - I(x)| + |I(x+3) - I(x+2)|) / 2
//
// No map is stored. On the CPU a band of rows is read once, and each scale keeps its last eight rows; bands depend on H
// alone, so that results do not depend on the number of threads. On a CUDA device the pictures of the smaller scales go
// into the workspace, and the maps of a tile are made in shared memory.
#pragma once

#include <cstddef>

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

constexpr std::int64_t kSceneStatistics = 176;

enum class SceneMap { kLuma, kGradient, kDetail, kDifference };
constexpr std::size_t kSceneStatisticsAlignment = 64;  // of the workspace, in bytes

// frames must pass this before the output is made from its shape.
void scene_statistics_check_frames(const TensorView& frames);

// Bytes of workspace with which scene_statistics can use context.threads threads; for frames on a CUDA device, the
// bytes it needs, which follow from their shape.
std::size_t scene_statistics_workspace_bytes(const Context& context, const TensorView& frames);

// `workspace` is aligned, and on the device of frames. On the CPU, with fewer bytes than the above, but at least those
// for one thread, it runs on fewer threads.
void scene_statistics(const Context& context, const TensorView& frames, SceneMap map, const TensorView& out,
                      void* workspace, std::size_t workspace_bytes);

}  // namespace vqafast
