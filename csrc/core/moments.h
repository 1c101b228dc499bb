// Mean and sum of squared deviations of many columns, or of one long row, in blocks that stay in the first-level
// cache: each value is read once from memory and twice from the cache, deviations are taken from the block's own mean
// (so no cancellation, whatever the offset), and blocks are combined in double (Chan, Golub, LeVeque 1979).
#pragma once

#include "core/simd.h"
#include "core/tensor_view.h"

namespace vqafast {
namespace VQAFAST_ISA {

constexpr int kRowBlock = 2048;    // values of a row block: 8 KiB
constexpr int kColumnVectors = 4;  // vectors of a column group
template <typename Real>
constexpr int kColumnsOf = kColumnVectors * kLanesOf<Real>;
constexpr int kColumnBlock = 32;  // rows of a column block

struct Moments {
  double count = 0, mean = 0, squares = 0;  // squares: sum of (x - mean)^2

  VQAFAST_HD void add(double other_count, double other_mean, double other_squares) {
    if (count == 0) {  // the same numbers, without divisions
      count = other_count;
      mean = other_mean;
      squares = other_squares;
      return;
    }
    const double total = count + other_count;
    const double delta = other_mean - mean;
    mean += delta * (other_count / total);
    squares += other_squares + delta * delta * (count * other_count / total);
    count = total;
  }
};

template <typename Real>
constexpr DType kDTypeOf = sizeof(Real) == 8 ? DType::kFloat64 : DType::kFloat32;

VQAFAST_INLINE float read_value(const char* at, DType dtype) {
  if (dtype == DType::kFloat16) return half_to_float(*reinterpret_cast<const std::uint16_t*>(at));
  if (dtype == DType::kBFloat16) return bfloat16_to_float(*reinterpret_cast<const std::uint16_t*>(at));
  return *reinterpret_cast<const float*>(at);
}

// Copies `count` values `stride` bytes apart into `to`.
VQAFAST_INLINE void gather(const char* from, std::int64_t stride, DType dtype, std::int64_t count, float* to) {
  const auto* packed = reinterpret_cast<const std::uint16_t*>(from);
  std::int64_t i = 0;
  if (dtype == DType::kFloat32 && stride == 4) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * 4);
    return;
  }
  if (dtype == DType::kFloat16 && stride == 2) {
    for (; i + kLanes <= count; i += kLanes) store(load_half(packed + i), to + i);
  } else if (dtype == DType::kBFloat16 && stride == 2) {
    for (; i + kLanes <= count; i += kLanes) store(load_bfloat16(packed + i), to + i);
  }
  for (; i < count; ++i) to[i] = read_value(from + i * stride, dtype);
}

VQAFAST_INLINE void gather(const char* from, std::int64_t stride, DType, std::int64_t count, double* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = *reinterpret_cast<const double*>(from + i * stride);
}

// One block of contiguous values.
template <typename Real>
VQAFAST_INLINE void add_row_block(const Real* x, std::int64_t count, Moments* moments) {
  constexpr int kSums = 4, kWidth = kLanesOf<Real>;
  Vec<Real> sums[kSums] = {};
  Real tail = 0;
  std::int64_t i = 0;
  for (; i + kSums * kWidth <= count; i += kSums * kWidth)
    for (int k = 0; k < kSums; ++k) sums[k] += load(x + i + k * kWidth);
  for (; i + kWidth <= count; i += kWidth) sums[0] += load(x + i);
  for (; i < count; ++i) tail += x[i];
  const Real n = static_cast<Real>(count);
  const Real mean = (sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + tail) / n;

  Vec<Real> first[kSums] = {}, second[kSums] = {};
  const Vec<Real> shift = splat(mean);
  Real first_tail = 0, second_tail = 0;
  for (i = 0; i + kSums * kWidth <= count; i += kSums * kWidth) {
    for (int k = 0; k < kSums; ++k) {
      const Vec<Real> d = load(x + i + k * kWidth) - shift;
      first[k] += d;
      second[k] += d * d;
    }
  }
  for (; i + kWidth <= count; i += kWidth) {
    const Vec<Real> d = load(x + i) - shift;
    first[0] += d;
    second[0] += d * d;
  }
  for (; i < count; ++i) {
    const Real d = x[i] - mean;
    first_tail += d;
    second_tail += d * d;
  }
  // What the rounded mean missed.
  const double rest = static_cast<double>(sum((first[0] + first[1]) + (first[2] + first[3])) + first_tail);
  const double squares = static_cast<double>(sum((second[0] + second[1]) + (second[2] + second[3])) + second_tail);
  const double size = static_cast<double>(count);
  moments->add(size, static_cast<double>(mean) + rest / size, squares - rest * rest / size);
}

// One block of `rows` (at most kColumnBlock) x kColumns values, rows `pitch` values apart. means and squares are the
// running values of `count` rows before.
template <typename Real>
VQAFAST_INLINE void add_column_block(const Real* x, std::int64_t pitch, std::int64_t rows, double count, double* means,
                                     double* squares) {
  constexpr int kWidth = kLanesOf<Real>, kColumns = kColumnsOf<Real>;
  Vec<Real> sums[kColumnVectors] = {};
  for (std::int64_t r = 0; r < rows; ++r)
    for (int k = 0; k < kColumnVectors; ++k) sums[k] += load(x + r * pitch + k * kWidth);
  Vec<Real> shift[kColumnVectors], first[kColumnVectors] = {}, second[kColumnVectors] = {};
  for (int k = 0; k < kColumnVectors; ++k) shift[k] = sums[k] / static_cast<Real>(rows);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (int k = 0; k < kColumnVectors; ++k) {
      const Vec<Real> d = load(x + r * pitch + k * kWidth) - shift[k];
      first[k] += d;
      second[k] += d * d;
    }
  }
  Real mean[kColumns], rest[kColumns], square[kColumns];
  for (int k = 0; k < kColumnVectors; ++k) {
    store(shift[k], mean + k * kWidth);
    store(first[k], rest + k * kWidth);
    store(second[k], square + k * kWidth);
  }
  const double size = static_cast<double>(rows), inverse = 1.0 / size;
  const double share = size / (count + size), weight = count * share;
  for (int c = 0; c < kColumns; ++c) {
    const double r = static_cast<double>(rest[c]);
    const double delta = static_cast<double>(mean[c]) + r * inverse - means[c];
    means[c] += delta * share;
    squares[c] += static_cast<double>(square[c]) - r * r * inverse + delta * delta * weight;
  }
}

// Rows of up to kColumns neighbouring columns anywhere in memory.
struct ColumnGroup {
  const char* base;
  std::int64_t row_stride, column_stride;  // bytes
  int columns;                             // 1..kColumnsOf<Real>
  DType dtype;
};

// `rows` (at most kColumnBlock) rows from `row` on as values kColumns wide: in place where the layout allows, else
// copied into `buffer` (kColumnBlock * kColumns values) with zeros to the right. Returns the pitch in values.
template <typename Real>
VQAFAST_INLINE std::int64_t column_rows(const ColumnGroup& group, std::int64_t row, std::int64_t rows, Real* buffer,
                                        const Real** out) {
  constexpr int kColumns = kColumnsOf<Real>, kSize = static_cast<int>(sizeof(Real));
  const char* from = group.base + row * group.row_stride;
  if (group.dtype == kDTypeOf<Real> && group.column_stride == kSize && group.columns == kColumns &&
      group.row_stride % kSize == 0) {
    *out = reinterpret_cast<const Real*>(from);
    return group.row_stride / kSize;
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    Real* to = buffer + r * kColumns;
    gather(from + r * group.row_stride, group.column_stride, group.dtype, group.columns, to);
    for (int c = group.columns; c < kColumns; ++c) to[c] = 0;
  }
  *out = buffer;
  return kColumns;
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
