// Reading samples, converting pixels, writing them: the same operations in the same order for every kernel, layout,
// type and rotation.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

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

constexpr int kLog2Threads = 8, kThreads = 1 << kLog2Threads;

template <typename Sample>
__device__ const Sample* row_at(const SourcePlane& plane, int row) {
  return reinterpret_cast<const Sample*>(plane.data + row * plane.row_stride);
}

// An offset that the compiler takes as it is. Otherwise it spreads 64-bit multiplications over all addresses that begin
// with it, which no longer differ by constants then.
__device__ inline std::ptrdiff_t pinned(std::ptrdiff_t offset) {
#ifdef __CUDA_ARCH__
  asm("" : "+l"(offset));
#endif
  return offset;
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
VQAFAST_HD inline bool lanes_go_down(const Target& t) {
  const std::ptrdiff_t row = t.out_row < 0 ? -t.out_row : t.out_row;
  const std::ptrdiff_t column = t.out_column < 0 ? -t.out_column : t.out_column;
  return row < column;
}

// Without chroma cb, cr and their coefficients are 0, so that there is one sequence of operations.
__device__ inline float channel_of(const Target& t, int c, float y, float cb, float cr) {
  float value = fmaf(t.color[c][0], y, t.color[c][3]);
  if (c != 0) value = fmaf(t.color[c][1], cb, value);  // R has no term in U and B none in V
  if (c != 2) value = fmaf(t.color[c][2], cr, value);
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
template <int kPack>
struct Pixels {
  float y[kPack], cb[kPack], cr[kPack];
};

// Whether kPack pixels `step` bytes apart can be written in few stores.
enum class Packing { kNone, kPlanes, kReversedPlanes, kInterleaved };

// `first` is where the first pack of a crop starts; all packs lie multiples of kPack steps and of `other` bytes from
// it.
template <int kPack>
__device__ Packing packing_of(const Target& t, const std::uint8_t* first, std::ptrdiff_t step, std::ptrdiff_t other) {
  const int item = t.half ? sizeof(__half) : sizeof(float);
  if (t.channels == 3 && step == 3 * item && t.out_channel == item) {
    return aligned(first, other, kPack * item) ? Packing::kInterleaved : Packing::kNone;
  }
  if (t.channels > 1) other |= t.out_channel;
  if (step == item && aligned(first, other, kPack * item)) return Packing::kPlanes;
  if (step == -item && aligned(first + (kPack - 1) * step, other, kPack * item)) return Packing::kReversedPlanes;
  return Packing::kNone;
}

__device__ inline unsigned halves(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  unsigned bits;
  memcpy(&bits, &pair, sizeof(bits));
  return bits;
}

// Aligned, in the fewest stores.
template <int kPack>
__device__ void store_packed(std::uint8_t* out, bool half, const float* v) {
  if (!half) {
#pragma unroll
    for (int i = 0; i < kPack; i += 4)
      *reinterpret_cast<float4*>(out + i * sizeof(float)) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
  } else if constexpr (kPack == 4) {
    *reinterpret_cast<uint2*>(out) = make_uint2(halves(v[0], v[1]), halves(v[2], v[3]));
  } else {
    static_assert(kPack == 8, "4 or 8 pixels");
    *reinterpret_cast<uint4*>(out) =
        make_uint4(halves(v[0], v[1]), halves(v[2], v[3]), halves(v[4], v[5]), halves(v[6], v[7]));
  }
}

template <int kPack>
__device__ void reverse(float* v) {
#pragma unroll
  for (int i = 0; i < kPack / 2; ++i) {
    const float front = v[i];
    v[i] = v[kPack - 1 - i];
    v[kPack - 1 - i] = front;
  }
}

template <int kPack>
__device__ void write_planes(const Target& t, std::uint8_t* out, const Pixels<kPack>& p) {
#pragma unroll
  for (int c = 0; c < 3; ++c, out += t.out_channel) {
    if (c >= t.channels) break;
    float v[kPack];
#pragma unroll
    for (int i = 0; i < kPack; ++i) v[i] = channel_of(t, c, p.y[i], p.cb[i], p.cr[i]);
    store_packed<kPack>(out, t.half, v);
  }
}

// The first `present` of kPack pixels that lie `step` bytes apart.
template <int kPack>
__device__ void write_pixels(const Target& t, Packing packing, std::uint8_t* out, std::ptrdiff_t step, int present,
                             Pixels<kPack> p) {
  if (packing == Packing::kNone || present < kPack) {
#pragma unroll
    for (int i = 0; i < kPack; ++i)
      if (i < present) write_pixel(t, out + i * step, p.y[i], p.cb[i], p.cr[i]);
    return;
  }
  if (packing == Packing::kInterleaved) {
    float v[3 * kPack];
#pragma unroll
    for (int i = 0; i < 3 * kPack; ++i) v[i] = channel_of(t, i % 3, p.y[i / 3], p.cb[i / 3], p.cr[i / 3]);
#pragma unroll
    for (int k = 0; k < 3; ++k)
      store_packed<kPack>(out + k * kPack * (t.half ? sizeof(__half) : sizeof(float)), t.half, v + k * kPack);
    return;
  }
  if (packing == Packing::kReversedPlanes) {
    reverse<kPack>(p.y);
    reverse<kPack>(p.cb);
    reverse<kPack>(p.cr);
    write_planes<kPack>(t, out + pinned((kPack - 1) * step), p);
  } else {
    write_planes<kPack>(t, out, p);
  }
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
