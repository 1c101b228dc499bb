// Reading samples, converting pixels, writing them: the same operations in the same order for every kernel, layout,
// type and rotation.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "ops/frame_ingest/frame_ingest_batch.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

using ingest::Axes;
using ingest::Axis;
using ingest::Batch;
using ingest::Crop;
using ingest::SourcePlane;
using ingest::Target;

constexpr int kThreads = 256;

template <typename Sample>
__device__ const Sample* row_at(const SourcePlane& plane, int row) {
  return reinterpret_cast<const Sample*>(plane.data + row * plane.row_stride);
}

__device__ inline bool aligned(const void* pointer, std::ptrdiff_t stride, int bytes) {
  return (reinterpret_cast<std::uintptr_t>(pointer) | static_cast<std::uintptr_t>(stride)) % bytes == 0;
}

// kBytes aligned bytes in one load.
template <int kBytes>
__device__ void load_words(const void* from, unsigned* words) {
  if constexpr (kBytes == 2) {
    words[0] = __ldg(static_cast<const unsigned short*>(from));
  } else if constexpr (kBytes == 4) {
    words[0] = __ldg(static_cast<const unsigned*>(from));
  } else if constexpr (kBytes == 8) {
    const uint2 loaded = __ldg(static_cast<const uint2*>(from));
    words[0] = loaded.x;
    words[1] = loaded.y;
  } else {
    static_assert(kBytes == 16, "a load of 2, 4, 8 or 16 bytes");
    const uint4 loaded = __ldg(static_cast<const uint4*>(from));
    words[0] = loaded.x;
    words[1] = loaded.y;
    words[2] = loaded.z;
    words[3] = loaded.w;
  }
}

// Sample i of a load. Multiprocessors convert integers slowly; a sample in the low bits of the float 2^23 is 2^23 too
// large, exactly.
template <typename Sample>
__device__ float sample_of(const unsigned* words, int i) {
  constexpr int kPerWord = 4 / sizeof(Sample);
  const int at = i % kPerWord;
  const unsigned bytes = sizeof(Sample) == 1 ? 0x7440 + at : 0x7410 + 0x22 * at;
  return __uint_as_float(__byte_perm(words[i / kPerWord], 0x4B000000, bytes)) - 8388608.0f;
}

// Neighbours of a row of output lie closer together than those of a column, unless a quarter turn swapped them. A
// warp's lanes follow the closer ones.
__device__ inline bool lanes_go_down(const Target& t) {
  const std::ptrdiff_t row = t.out_row < 0 ? -t.out_row : t.out_row;
  const std::ptrdiff_t column = t.out_column < 0 ? -t.out_column : t.out_column;
  return row < column;
}

__device__ inline float channel_of(const Target& t, int c, float y, float cb, float cr) {
  float value = fmaf(t.color[c][0], y, t.color[c][3]);
  if (t.chroma) {
    if (c != 0) value = fmaf(t.color[c][1], cb, value);  // R has no term in U and B none in V
    if (c != 2) value = fmaf(t.color[c][2], cr, value);
  }
  return fmaxf(t.low[c], fminf(value, t.high[c]));
}

__device__ inline void write_pixel(const Target& t, std::uint8_t* out, float y, float cb, float cr) {
#pragma unroll
  for (int c = 0; c < 3; ++c, out += t.out_channel) {
    if (c >= t.channels) break;
    const float value = channel_of(t, c, y, cb, cr);
    if (t.half) {
      *reinterpret_cast<__half*>(out) = __float2half_rn(value);
    } else {
      *reinterpret_cast<float*>(out) = value;
    }
  }
}

// Neighbouring pixels of one thread.
constexpr int kPack = 4;

struct Pixels {
  float y[kPack], cb[kPack], cr[kPack];
};

struct alignas(8) PackedHalves {
  __half2 low, high;
};
struct alignas(16) PackedFloats {
  float v[kPack];
};

// Aligned, in one store.
__device__ inline void store_packed(std::uint8_t* out, bool half, const float* v) {
  if (half) {
    *reinterpret_cast<PackedHalves*>(out) = {__floats2half2_rn(v[0], v[1]), __floats2half2_rn(v[2], v[3])};
  } else {
    *reinterpret_cast<PackedFloats*>(out) = {{v[0], v[1], v[2], v[3]}};
  }
}

// The first `present` of kPack pixels that lie `step` bytes apart; all of them in few stores where they are adjacent.
__device__ inline void write_pixels(const Target& t, std::uint8_t* out, std::ptrdiff_t step, int present, Pixels p) {
  const std::ptrdiff_t item = t.half ? sizeof(__half) : sizeof(float);
  const int bytes = t.half ? sizeof(PackedHalves) : sizeof(PackedFloats);
  if (present == kPack && (step == item || step == -item)) {
    if (step < 0) {
      out += (kPack - 1) * step;
#pragma unroll
      for (int i = 0; i < kPack / 2; ++i) {
        const float y = p.y[i], cb = p.cb[i], cr = p.cr[i];
        p.y[i] = p.y[kPack - 1 - i], p.cb[i] = p.cb[kPack - 1 - i], p.cr[i] = p.cr[kPack - 1 - i];
        p.y[kPack - 1 - i] = y, p.cb[kPack - 1 - i] = cb, p.cr[kPack - 1 - i] = cr;
      }
      step = item;
    }
    if (aligned(out, t.channels > 1 ? t.out_channel : 0, bytes)) {
#pragma unroll
      for (int c = 0; c < 3; ++c, out += t.out_channel) {
        if (c >= t.channels) break;
        float v[kPack];
#pragma unroll
        for (int i = 0; i < kPack; ++i) v[i] = channel_of(t, c, p.y[i], p.cb[i], p.cr[i]);
        store_packed(out, t.half, v);
      }
      return;
    }
  } else if (present == kPack && t.channels == 3 && t.out_channel == item && step == 3 * item &&
             aligned(out, 0, bytes)) {
    float v[3 * kPack];
#pragma unroll
    for (int i = 0; i < 3 * kPack; ++i) v[i] = channel_of(t, i % 3, p.y[i / 3], p.cb[i / 3], p.cr[i / 3]);
#pragma unroll
    for (int k = 0; k < 3; ++k) store_packed(out + k * bytes, t.half, v + k * kPack);
    return;
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i)
    if (i < present) write_pixel(t, out + i * step, p.y[i], p.cb[i], p.cr[i]);
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
