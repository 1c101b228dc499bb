// scene_statistics: natural-scene statistics of luma pairs -> (N, 176). docs: python/vqafast/ops/scene_statistics.py
//
//   frames (N, 2, H, W) float32, any strides: luma in 0..1 of a picture and of the one after it; H, W >= 96
//   out    (N, 176) float32, contiguous: for each stage the means of its channels over the map, then their biased
//          standard deviations
//
// I = 255 frames[:, 0] - 127.5 and D = 255 (frames[:, 1] - frames[:, 0]), halved by 2x2 means from scale to scale.
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
// No map is stored: a band of rows is read once, and each scale keeps its last eight rows. Bands depend on H alone, so
// that results do not depend on the number of threads.
#pragma once

#include <cstddef>

#include "core/context.h"
#include "core/tensor_view.h"

namespace vqafast {

constexpr std::int64_t kSceneStatistics = 176;

// frames must pass this before the output is made from its shape.
void scene_statistics_check_frames(const TensorView& frames);

// Bytes of workspace with which scene_statistics can use context.threads threads.
std::size_t scene_statistics_workspace_bytes(const Context& context, const TensorView& frames);

// `workspace` is aligned to 64 bytes. With fewer bytes than the above, but at least those for one thread, it runs on
// fewer threads.
void scene_statistics(const Context& context, const TensorView& frames, const TensorView& out, void* workspace,
                      std::size_t workspace_bytes);

}  // namespace vqafast
