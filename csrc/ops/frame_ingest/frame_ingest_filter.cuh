// Any scale whose taps fit in shared memory. A block makes a tile of the output: it computes the tile's taps, filters
// the source rows of all planes vertically into shared memory (neighbouring threads read neighbouring samples, eight at
// a time where alignment allows) and those horizontally into its pixels. Taps are added in ascending order, whatever
// the tile. Two barriers in all: a tile's time is mostly the latency between them.
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/frame_ingest/frame_ingest_pixels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kSamples = 8;  // of a load
constexpr int kTapGroup = 4;
constexpr int kTilePack = 4;  // rows of a thread

// Powers of two, rows a multiple of kTilePack: a thread makes kTilePack rows of one column.
struct TileShape {
  int log2_columns, rows;

  VQAFAST_HD int columns() const { return 1 << log2_columns; }
};

// The larger, the fewer samples are read for two tiles and the more pixels share the cost of the taps.
constexpr TileShape kTiles[] = {{6, 16}, {6, 8}, {5, 8}, {4, 4}};
static_assert((kTiles[0].rows << kTiles[0].log2_columns) <= kThreads * kTilePack, "one pack a thread");
static_assert(2 * (kTiles[0].rows + (1 << kTiles[0].log2_columns)) <= kThreads, "one window a thread");

// Room in shared memory, enough for all crops of a launch.
struct FilterRoom {
  TileShape tile;
  int column_taps, row_taps;     // of an output
  int luma_pitch, chroma_pitch;  // floats of a filtered row
};

// Windows of the tile's outputs; weights are divided by their sum.
struct FilterTables {
  int *first_column, *columns, *first_row, *rows;
  float *column_weight, *row_weight;  // (taps, columns), (rows, taps)
};

VQAFAST_HD inline int table_floats(const FilterRoom& room) {
  return (2 + room.column_taps) * room.tile.columns() + (2 + room.row_taps) * room.tile.rows;
}

// Luma's tables, chroma's, then filtered rows.
__device__ inline FilterTables tables_of(float* shared, const FilterRoom& room, bool chroma) {
  const int columns = room.tile.columns(), rows = room.tile.rows;
  FilterTables t;
  t.first_column = reinterpret_cast<int*>(shared + (chroma ? table_floats(room) : 0));
  t.columns = t.first_column + columns;
  t.first_row = t.columns + columns;
  t.rows = t.first_row + rows;
  t.row_weight = reinterpret_cast<float*>(t.rows + rows);
  t.column_weight = t.row_weight + rows * room.row_taps;
  return t;
}

// Where element i of a filtered row lies. Neighbouring outputs read elements a whole number apart, often a power of
// two: a gap after every 32 sends them to different banks.
VQAFAST_HD inline int spaced(int i) { return i + (i >> 5); }

// Samples that `outputs` neighbouring outputs read, at most; one more than the definition says, for rounding.
inline int reach(const Axis& axis, int outputs) {
  return std::min(axis.limit, static_cast<int>(std::ceil((outputs - 1) * axis.scale())) + axis.max_taps() + 1);
}

// Floats of a filtered row, which starts up to kSamples - 1 elements early and ends as many late.
inline int filtered_pitch(const Axis& axis, int outputs) {
  return spaced((reach(axis, outputs) + 2 * (kSamples - 1)) / kSamples * kSamples) + 1;
}

__device__ inline void make_window(const Axis& axis, int i, int* first, int* taps, float* weight, int stride) {
  const double center = axis.center(min(i, axis.count - 1));
  const ingest::Window window = ingest::window_of(axis, center);
  const float offset = static_cast<float>(window.first + 0.5 - center);
  const float inverse = static_cast<float>(1 / axis.filter());
  float sum = 0;
#pragma unroll 4
  for (int k = 0; k < window.taps; ++k) sum += ingest::triangle(offset + k, inverse);
#pragma unroll 4
  for (int k = 0; k < window.taps; ++k)
    weight[k * stride] = window.taps == 1 ? 1.0f : ingest::triangle(offset + k, inverse) / sum;
  *first = window.first;
  *taps = window.taps;
}

// A window a thread, columns before rows so that few warps diverge.
__device__ inline void make_tables(const Batch& batch, const Crop& crop, const FilterRoom& room, int top, int left,
                                   float* shared) {
  const int columns = room.tile.columns(), rows = room.tile.rows, planes = batch.target.chroma ? 2 : 1;
  int i = threadIdx.x;
  if (i >= planes * (columns + rows)) return;
  const bool vertical = i >= planes * columns;
  if (vertical) i -= planes * columns;
  const int length = vertical ? rows : columns;
  const bool chroma = i >= length;
  if (chroma) i -= length;
  const Axes axes = chroma ? ingest::chroma_axes(batch, crop) : ingest::luma_axes(batch, crop);
  const Axis axis = vertical ? axes.y : axes.x;
  const FilterTables t = tables_of(shared, room, chroma);
  make_window(axis, (vertical ? top : left) + i, (vertical ? t.first_row : t.first_column) + i,
              (vertical ? t.rows : t.columns) + i, vertical ? t.row_weight + i * room.row_taps : t.column_weight + i,
              vertical ? 1 : columns);
}

// Adds kTaps rows of kSamples neighbouring samples.
template <typename Sample, int kTaps>
__device__ void add_rows(const std::uint8_t* from, std::ptrdiff_t stride, const float* weight, float* sum) {
  unsigned words[kTaps][2 * sizeof(Sample)];
#pragma unroll
  for (int k = 0; k < kTaps; ++k) load_words<kSamples * sizeof(Sample)>(from + k * stride, words[k]);
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const float w = weight[k];
#pragma unroll
    for (int i = 0; i < kSamples; ++i) sum[i] = fmaf(w, sample_of<Sample>(words[k], i), sum[i]);
  }
}

// Filters the tile's rows of a plane vertically; of a plane of pairs (kParts 2) both parts, into rows that lie `part`
// floats apart. Element 0 of a filtered row is sample first_sample().
template <typename Sample, int kParts>
__device__ void filter_rows(const SourcePlane& plane, const FilterTables& t, const FilterRoom& room, int rows,
                            float* filtered, int pitch, int part) {
  constexpr int kColumns = kSamples / kParts;
  const int thread = threadIdx.x, last = room.tile.columns() - 1;
  const int begin = t.first_column[0] / kSamples * kSamples;
  const int groups = (t.first_column[last] + t.columns[last] - begin + kColumns - 1) / kColumns;
  const bool whole = aligned(plane.data, plane.row_stride, kSamples * sizeof(Sample));
  // Groups of all rows are one list, dealt to the threads in turn.
  int row = thread / groups, group = thread - row * groups;
  const int row_step = kThreads / groups, group_step = kThreads - row_step * groups;
  while (row < rows) {
    const int column = begin + group * kColumns, present = (plane.columns - column) * kParts, taps = t.rows[row];
    const float* weight = t.row_weight + row * room.row_taps;
    const std::uint8_t* from =
        reinterpret_cast<const std::uint8_t*>(row_at<Sample>(plane, t.first_row[row]) + column * kParts);
    const std::ptrdiff_t stride = plane.row_stride;
    float sum[kSamples] = {};
    if (whole && present >= kSamples) {
      int k = 0;
      for (; k + kTapGroup <= taps; k += kTapGroup, from += kTapGroup * stride)
        add_rows<Sample, kTapGroup>(from, stride, weight + k, sum);
      if (taps & 2) {
        add_rows<Sample, 2>(from, stride, weight + k, sum);
        from += 2 * stride;
        k += 2;
      }
      if (taps & 1) add_rows<Sample, 1>(from, stride, weight + k, sum);
    } else {
#pragma unroll 1
      for (int k = 0; k < taps; ++k, from += stride) {
#pragma unroll
        for (int i = 0; i < kSamples; ++i)
          if (i < present)
            sum[i] = fmaf(weight[k], static_cast<float>(__ldg(reinterpret_cast<const Sample*>(from) + i)), sum[i]);
      }
    }
    float* to = filtered + row * pitch + spaced(group * kColumns);
#pragma unroll
    for (int i = 0; i < kSamples; ++i) to[i % kParts * part + i / kParts] = sum[i];
    row += row_step;
    group += group_step;
    if (group >= groups) {
      group -= groups;
      ++row;
    }
  }
}

// Filters kTilePack filtered rows of kPlanes planes, `plane` floats apart, horizontally.
template <int kPlanes>
__device__ void filter_column(const FilterTables& t, const FilterRoom& room, int column, const float* filtered,
                              int pitch, int plane, float (*sum)[kTilePack]) {
  const int first = t.first_column[column] - t.first_column[0] / kSamples * kSamples, taps = t.columns[column];
  const float* weight = t.column_weight + column;
#pragma unroll 2
  for (int k = 0; k < taps; ++k) {
    const float w = weight[k << room.tile.log2_columns];
    const float* from = filtered + spaced(first + k);
#pragma unroll
    for (int p = 0; p < kPlanes; ++p) {
#pragma unroll
      for (int r = 0; r < kTilePack; ++r) sum[p][r] = fmaf(w, from[p * plane + r * pitch], sum[p][r]);
    }
  }
}

template <typename Sample>
__global__ void __launch_bounds__(kThreads, 4)
    ingest_filter(const __grid_constant__ Batch batch, const __grid_constant__ FilterRoom room) {
  float* const shared = dynamic_shared<float>();
  const Target& t = batch.target;
  const Crop& crop = batch.crops[blockIdx.z];
  const int columns = room.tile.columns(), tile_rows = room.tile.rows;
  const int top = blockIdx.y * tile_rows, left = blockIdx.x * columns;
  const int rows = min(tile_rows, t.height - top), thread = threadIdx.x;
  const FilterTables luma = tables_of(shared, room, false), chroma = tables_of(shared, room, true);
  float* const luma_rows = shared + (t.chroma ? 2 : 1) * table_floats(room);
  float* const chroma_rows = luma_rows + tile_rows * room.luma_pitch;
  const int chroma_plane = tile_rows * room.chroma_pitch;

  make_tables(batch, crop, room, top, left, shared);
  __syncthreads();
  const int planes = t.chroma && !t.semi_planar ? 3 : 1;
#pragma unroll 1
  for (int k = 0; k < planes; ++k) {
    float* const to = k == 0 ? luma_rows : chroma_rows + (k - 1) * chroma_plane;
    // Field by field: a reference to one of three would be to a copy in local memory.
    const SourcePlane plane{k == 0   ? batch.y.data
                            : k == 1 ? batch.u.data
                                     : batch.v.data,
                            k == 0   ? batch.y.row_stride
                            : k == 1 ? batch.u.row_stride
                                     : batch.v.row_stride,
                            k == 0 ? batch.y.rows : batch.u.rows, k == 0 ? batch.y.columns : batch.u.columns};
    filter_rows<Sample, 1>(plane, tables_of(shared, room, k > 0), room, rows, to,
                           k == 0 ? room.luma_pitch : room.chroma_pitch, 0);
  }
  if (t.chroma && t.semi_planar)
    filter_rows<Sample, 2>(batch.u, chroma, room, rows, chroma_rows, room.chroma_pitch, chroma_plane);
  __syncthreads();

  const int packs = tile_rows / kTilePack;
  const bool down = lanes_go_down(t);
  const int row = kTilePack * (down ? thread % packs : thread >> room.tile.log2_columns);
  const int column = down ? thread / packs : thread & (columns - 1);
  const int present = min(kTilePack, rows - row);
  if (present <= 0 || column >= min(columns, t.width - left)) return;
  float y[1][kTilePack] = {}, uv[2][kTilePack] = {};
  filter_column<1>(luma, room, column, luma_rows + row * room.luma_pitch, room.luma_pitch, 0, y);
  if (t.chroma) {
    filter_column<2>(chroma, room, column, chroma_rows + row * room.chroma_pitch, room.chroma_pitch, chroma_plane, uv);
  }
  Pixels<kTilePack> p;
#pragma unroll
  for (int r = 0; r < kTilePack; ++r) p.y[r] = y[0][r], p.cb[r] = uv[0][r], p.cr[r] = uv[1][r];
  const Packing packing = packing_of<kTilePack>(t, crop.out, t.out_row, t.out_column);
  write_pixels<kTilePack>(t, packing, crop.out + (top + row) * t.out_row + (left + column) * t.out_column, t.out_row,
                          present, p);
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
