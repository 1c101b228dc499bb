// The arithmetic of frame_ingest, one row of output at a time: vertical filter, horizontal filter, colour, write.
// Vertical first: source rows are contiguous, so every sample is loaded and converted in full vectors, and what is left
// for the horizontal filter is one short row of floats in the first-level cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/frame_ingest/frame_ingest_color.h"
#include "ops/frame_ingest/frame_ingest_plan.h"
#include "ops/frame_ingest/frame_ingest_scale1.h"
#include "ops/frame_ingest/frame_ingest_simd.h"
#include "ops/frame_ingest/frame_ingest_write.h"

namespace vqafast {
namespace VQAFAST_ISA {

using ingest::Taps;

// out[x] = sum over t of weight[t] * row_t[x], for kVectors vectors from x on.
template <int kVectors, typename Sample>
VQAFAST_INLINE void filter_columns(const std::uint8_t* rows, std::ptrdiff_t row_stride, const float* weight, int taps,
                                   int x, float* out) {
  VFloat sum[kVectors];
  const Sample* row = row_at<Sample>(rows, row_stride, 0) + x;
  const VFloat w0 = splat(weight[0]);
  for (int j = 0; j < kVectors; ++j) sum[j] = w0 * load(row + j * kLanes);
  for (int t = 1; t < taps; ++t) {
    row = row_at<Sample>(rows, row_stride, t) + x;
    const VFloat w = splat(weight[t]);
    for (int j = 0; j < kVectors; ++j) sum[j] = mul_add(w, load(row + j * kLanes), sum[j]);
  }
  for (int j = 0; j < kVectors; ++j) store(sum[j], out + x + j * kLanes);
}

// `next_rows` rows below the last tap are prefetched: the next row of output starts with them, and hardware prefetchers
// do not see them coming.
template <typename Sample>
VQAFAST_INLINE void filter_vertically(const std::uint8_t* rows, std::ptrdiff_t row_stride, const float* weight,
                                      int taps, int next_rows, int count, float* out) {
  constexpr int kBlock = 4 * kLanes;
  constexpr int kLine = 64 / sizeof(Sample);
  int x = 0;
  for (; x + kBlock <= count; x += kBlock) {
    for (int t = taps; t < taps + next_rows; ++t) {
      for (int i = 0; i < kBlock; i += kLine) __builtin_prefetch(row_at<Sample>(rows, row_stride, t) + x + i);
    }
    filter_columns<4, Sample>(rows, row_stride, weight, taps, x, out);
  }
  for (; x + kLanes <= count; x += kLanes) filter_columns<1, Sample>(rows, row_stride, weight, taps, x, out);
  if (x == count) return;
  if (count >= kLanes) return filter_columns<1, Sample>(rows, row_stride, weight, taps, count - kLanes, out);
  for (; x < count; ++x) {
    float sum = 0;
    for (int t = 0; t < taps; ++t) sum += weight[t] * static_cast<float>(row_at<Sample>(rows, row_stride, t)[x]);
    out[x] = sum;
  }
}

#ifdef VQAFAST_INGEST_PERMUTES
template <int kVectors>
VQAFAST_INLINE void filter_permuting(const Taps& taps, const float* row, float* out) {
  for (int i = 0; i < taps.padded; i += kLanes) {
    const Index index = window_index(taps.start + i);
    const float* base = row + taps.start[i];
    const float* weight = taps.weight + i;
    VFloat sum = load(weight) * pick<kVectors>(base, index);
    for (int t = 1; t < taps.taps; ++t) {
      weight += taps.padded;
      sum = mul_add(load(weight), pick<kVectors>(base + t, index), sum);
    }
    store(sum, out + i);
  }
}

VQAFAST_INLINE void filter_dots(const Taps& taps, const float* row, float* out) {
  for (int i = 0; i < taps.padded; i += 8) {
    __m256 group[8];
    for (int j = 0; j < 8; ++j) {
      const float* sample = row + taps.start[i + j];
      const float* weight = taps.weight + static_cast<std::ptrdiff_t>(i + j) * taps.taps;
      group[j] = _mm256_mul_ps(_mm256_loadu_ps(sample), _mm256_loadu_ps(weight));
      for (int t = 8; t < taps.taps; t += 8) {
        group[j] = _mm256_fmadd_ps(_mm256_loadu_ps(sample + t), _mm256_loadu_ps(weight + t), group[j]);
      }
    }
    _mm256_storeu_ps(out + i, sum_groups(group));
  }
}
#else
VQAFAST_INLINE void filter_dots(const Taps& taps, const float* row, float* out) {
  for (int i = 0; i < taps.padded; ++i) {
    const float* sample = row + taps.start[i];
    const float* weight = taps.weight + static_cast<std::ptrdiff_t>(i) * taps.taps;
    VFloat sum = load(sample) * load(weight);
    for (int t = kLanes; t < taps.taps; t += kLanes) sum = mul_add(load(sample + t), load(weight + t), sum);
    out[i] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }
}
#endif

// Returns the filtered row: `out`, or `row` itself when the filter is the identity.
VQAFAST_INLINE const float* filter_horizontally(const Taps& taps, const float* row, float* out) {
  if (taps.layout == ingest::Layout::kIdentity) return row;
#ifdef VQAFAST_INGEST_PERMUTES
  if (taps.layout == ingest::Layout::kPermute) {
    if (taps.window <= kLanes) {
      filter_permuting<1>(taps, row, out);
    } else if (taps.window <= 2 * kLanes) {
      filter_permuting<2>(taps, row, out);
    } else {
#ifdef __AVX512F__
      filter_permuting<4>(taps, row, out);
#endif
    }
    return out;
  }
#endif
  filter_dots(taps, row, out);
  return out;
}

// Rows that the next row of output reads and this one does not.
VQAFAST_INLINE int rows_to_come(const Taps& v, int row) {
  return row + 1 < v.padded ? v.start[row + 1] + v.used[row + 1] - v.start[row] - v.used[row] : 0;
}

template <typename Sample>
VQAFAST_INLINE const float* resample_row(const PlanePlan& plane, int row, float* filtered, float* out) {
  const Taps& v = plane.y;
  const std::uint8_t* rows = plane.data + (v.first + v.start[row]) * plane.row_stride +
                             plane.x.first * static_cast<std::ptrdiff_t>(sizeof(Sample));
  const float* weight = v.weight + static_cast<std::ptrdiff_t>(row) * v.taps;
  filter_vertically<Sample>(rows, plane.row_stride, weight, v.used[row], rows_to_come(v, row),
                            plane.x.last - plane.x.first, filtered);
  return filter_horizontally(plane.x, filtered, out);
}

// Interleaved U and V: one vertical pass over the pairs, then each alone.
template <typename Sample>
VQAFAST_INLINE void resample_pair_row(const PlanePlan& plane, int row, float* pair, float* u, float* v, float* u_out,
                                      float* v_out, const float** u_row, const float** v_row) {
  const Taps& taps = plane.y;
  const int count = plane.x.last - plane.x.first;
  const std::uint8_t* rows = plane.data + (taps.first + taps.start[row]) * plane.row_stride +
                             plane.x.first * static_cast<std::ptrdiff_t>(2 * sizeof(Sample));
  const float* weight = taps.weight + static_cast<std::ptrdiff_t>(row) * taps.taps;
  filter_vertically<Sample>(rows, plane.row_stride, weight, taps.used[row], rows_to_come(taps, row), 2 * count, pair);
  for (int x = 0; x < count; ++x) {
    u[x] = pair[2 * x];
    v[x] = pair[2 * x + 1];
  }
  *u_row = filter_horizontally(plane.x, u, u_out);
  *v_row = filter_horizontally(plane.x, v, v_out);
}

// Fetches the last source row of output row `row`. At scale 1 a row is done before memory has answered for the next
// one, so rows are asked for kRowsAhead early; hardware prefetchers stop at the end of each row of a crop.
constexpr int kRowsAhead = 4;
template <typename Sample>
VQAFAST_INLINE void prefetch_row(const PlanePlan& plane, int row, int per_pixel) {
  const Taps& v = plane.y;
  const int item = static_cast<int>(sizeof(Sample)) * per_pixel;
  const int last = v.start ? v.start[row] + v.used[row] - 1 : row;
  const std::uint8_t* from = plane.data + (v.first + last) * plane.row_stride;
  for (int i = plane.x.first * item; i < plane.x.last * item; i += 64) __builtin_prefetch(from + i);
}

template <typename Sample>
VQAFAST_INLINE void prefetch_rows(const CropPlan& plan, int row) {
  if (row >= plan.height) return;
  prefetch_row<Sample>(plan.luma, row, 1);
  if (!plan.chroma) return;
  prefetch_row<Sample>(plan.chroma_u, row, plan.semi_planar ? 2 : 1);
  if (!plan.semi_planar) prefetch_row<Sample>(plan.chroma_v, row, 1);
}

template <typename Sample, typename Out>
VQAFAST_INLINE void ingest_rows(const CropPlan& plan, int begin, int end, float* scratch) {
  const ingest::ScratchLayout at = ingest::scratch_layout(plan);
  // What a kernel loads past the end of a filtered row has weight 0, and must be finite.
  const auto clear_tail = [scratch](std::size_t row, const Taps& x, int per_pixel) {
    const std::size_t used = static_cast<std::size_t>(x.last - x.first) * per_pixel;
    std::memset(scratch + row + used, 0, (ingest::source_row_floats(x, per_pixel) - used) * sizeof(float));
  };
  const bool copies_luma = plan.luma.y.start == nullptr;
  const bool doubles = doubles_rows(plan);
  if (!copies_luma) clear_tail(at.luma, plan.luma.x, 1);
  if (plan.chroma && !doubles) {
    clear_tail(at.u, plan.chroma_u.x, 1);
    clear_tail(at.v, plan.chroma_u.x, 1);
  }
  const Color color = load_color(plan);
  const bool direct = plan.out_column == static_cast<std::ptrdiff_t>(sizeof(Out));
  const std::size_t width = ingest::round_up(plan.width, kMaxLanes);
  Out* tile = reinterpret_cast<Out*>(scratch + at.tile);
  const float *u = nullptr, *v = nullptr;
  if (copies_luma) {
    for (int row = begin; row < begin + kRowsAhead; ++row) prefetch_rows<Sample>(plan, row);
  }
  for (int row = begin; row < end; ++row) {
    if (copies_luma) prefetch_rows<Sample>(plan, row + kRowsAhead);
    if (plan.chroma && !doubles) {
      if (plan.semi_planar) {
        resample_pair_row<Sample>(plan.chroma_u, row, scratch + at.pair, scratch + at.u, scratch + at.v,
                                  scratch + at.u_out, scratch + at.v_out, &u, &v);
      } else {
        u = resample_row<Sample>(plan.chroma_u, row, scratch + at.u, scratch + at.u_out);
        v = resample_row<Sample>(plan.chroma_v, row, scratch + at.v, scratch + at.v_out);
      }
    }
    Out* out[3] = {};
    for (int c = 0; c < plan.channels; ++c) {
      out[c] = direct ? out_at<Out>(plan, row, 0, c) : tile + (c * kRowsPerTask + row - begin) * width;
    }
    if (copies_luma) {
      const Sample* y = row_at<Sample>(plan.luma.data, plan.luma.row_stride, plan.luma.y.first + row);
      y += plan.luma.x.first;
      if (doubles) {
        double_row(plan, color, row, y, out);
      } else {
        color_row(plan, color, y, u, v, out);
      }
    } else {
      const float* y = resample_row<Sample>(plan.luma, row, scratch + at.luma, scratch + at.y_out);
      color_row(plan, color, y, u, v, out);
    }
  }
  if (!direct) write_tile(plan, begin, end, tile);
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
