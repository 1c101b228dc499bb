// Blocks of feature maps as contiguous numbers: what the forward and the backward loops on the CPU share.
#pragma once

#include "ops/moment_pool/moment_pool_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {

// Address of pixel p (row-major) of channel c of image n.
VQAFAST_INLINE const char* pixel(const MomentPoolMaps& x, std::int64_t n, std::int64_t c, std::int64_t p) {
  const char* plane = x.data + n * x.stride_n + c * x.stride_c;
  return p == 0 ? plane : plane + (p / x.width) * x.stride_h + (p % x.width) * x.stride_w;
}

VQAFAST_INLINE bool packed_planes(const MomentPoolMaps& x) {
  const int size = item_size(x.dtype);
  return x.stride_w == size && (x.height == 1 || x.stride_h == x.width * size);
}

// Pixels [p, p + count) of one channel: in place, or copied into buffer row by row. `packed`: packed_planes(x).
template <typename Real>
VQAFAST_INLINE const Real* plane_block(const MomentPoolMaps& x, std::int64_t n, std::int64_t c, std::int64_t p,
                                       std::int64_t count, bool packed, Real* buffer) {
  const char* from = pixel(x, n, c, p);
  if (packed && x.dtype == kDTypeOf<Real>) return reinterpret_cast<const Real*>(from);
  if (packed) {
    gather(from, x.stride_w, x.dtype, count, buffer);
    return buffer;
  }
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t left_in_row = x.width - (p + done) % x.width;
    const std::int64_t here = left_in_row < count - done ? left_in_row : count - done;
    gather(pixel(x, n, c, p + done), x.stride_w, x.dtype, here, buffer + done);
    done += here;
  }
  return buffer;
}

// Calls run(p, rows, first value, pitch) on pixels [begin, end) in blocks of at most kColumnBlock rows of `columns`
// channels, kColumnsOf<Real> wide. `buffer`: kColumnBlock * kColumnsOf<Real> values.
template <typename Real, typename Run>
VQAFAST_INLINE void for_each_column_block(const MomentPoolMaps& x, std::int64_t n, std::int64_t first, int columns,
                                          std::int64_t begin, std::int64_t end, Real* buffer, const Run& run) {
  const bool even_rows = x.height == 1 || x.stride_h == x.width * x.stride_w;
  for (std::int64_t p = begin; p < end;) {
    const std::int64_t in_row = even_rows ? end - p : x.width - p % x.width;
    std::int64_t rows = in_row < end - p ? in_row : end - p;
    if (rows > kColumnBlock) rows = kColumnBlock;
    const ColumnGroup source{pixel(x, n, first, p), x.stride_w, x.stride_c, columns, x.dtype};
    const Real* values;
    const std::int64_t pitch = column_rows(source, 0, rows, buffer, &values);
    run(p, rows, values, pitch);
    p += rows;
  }
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
