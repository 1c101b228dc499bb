// What a backend gets, and the maths they share.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/moments.h"

namespace vqafast {

struct MomentPoolArgs {
  const char* x;
  DType dtype;
  std::int64_t images, channels, height, width;
  std::int64_t stride_n, stride_c, stride_h, stride_w;  // bytes
  std::int64_t chunks;  // parts a plane is cut into so that few channels still fill many threads
  double* partial;      // (N, C, chunks, 2): mean and sum of squared deviations of each part
  float* out;           // (N, 2C)
};

// The part of `pixels` that chunk k of n covers starts here.
constexpr std::int64_t chunk_begin(std::int64_t pixels, std::int64_t chunks, std::int64_t k) {
  return pixels * k / chunks;
}

namespace VQAFAST_ISA {

VQAFAST_KERNEL_INLINE void write_moments(const MomentPoolArgs& args, std::int64_t n, std::int64_t c,
                                         const Moments& moments) {
  float* row = args.out + n * 2 * args.channels;
  row[c] = static_cast<float>(moments.mean);
  const double variance = moments.squares / moments.count;
  row[args.channels + c] = static_cast<float>(sqrt(variance > 0 || variance != variance ? variance : 0));
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
