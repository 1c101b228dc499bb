// Any scale whose taps fit in shared memory. A block makes a tile of the output: it computes the tile's taps, filters
// the source rows vertically into shared memory (neighbouring threads read neighbouring samples, four at a time where
// alignment allows) and those horizontally into its pixels. Taps are added in ascending order, whatever the tile.
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/frame_ingest/frame_ingest_pixels.cuh"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

constexpr int kTileColumns = 32, kTileRows = 8;
static_assert(kTileColumns * kTileRows == kThreads, "one pixel a thread");
constexpr int kQuad = 4;

// How many taps of one output, over all crops of a launch, shared memory has room for.
struct FilterRoom {
  int columns, rows;
};

// Windows of the tile's outputs; weights are divided by their sum. Followed by filtered rows.
struct FilterTables {
  int *first_column, *columns;  // (kTileColumns)
  int *first_row, *rows;        // (kTileRows)
  float* column_weight;         // (taps, kTileColumns)
  float* row_weight;            // (kTileRows, taps)
  float* filtered;
};

constexpr int kTableInts = 2 * (kTileColumns + kTileRows);

__device__ inline FilterTables lay_out(float* shared, const FilterRoom& room) {
  FilterTables t;
  t.first_column = reinterpret_cast<int*>(shared);
  t.columns = t.first_column + kTileColumns;
  t.first_row = t.columns + kTileColumns;
  t.rows = t.first_row + kTileRows;
  t.column_weight = shared + kTableInts;
  t.row_weight = t.column_weight + kTileColumns * room.columns;
  t.filtered = t.row_weight + kTileRows * room.rows;
  return t;
}

// Where element i of a filtered row lies. Neighbouring outputs read elements a whole number apart, often a power of
// two: a gap after every 32 sends them to different banks.
VQAFAST_HD inline int spaced(int i) { return i + (i >> 5); }

// Floats of a filtered row of `elements`, which starts up to kQuad - 1 elements early and ends as many late.
inline int filtered_floats(int elements) { return spaced((elements + 2 * (kQuad - 1)) / kQuad * kQuad) + 1; }

// Samples that `outputs` neighbouring outputs read, at most; one more than the definition says, for rounding.
inline int reach(const Axis& axis, int outputs) {
  return std::min(axis.limit, static_cast<int>(std::ceil((outputs - 1) * axis.scale())) + axis.max_taps() + 1);
}

__device__ inline void make_window(const Axis& axis, int i, int* first, int* taps, float* weight, int stride) {
  const double center = axis.center(min(i, axis.count - 1));
  const ingest::Window window = ingest::window_of(axis, center);
  const float offset = static_cast<float>(window.first + 0.5 - center);
  const float inverse = static_cast<float>(1 / axis.filter());
  float sum = 0;
  for (int k = 0; k < window.taps; ++k) {
    weight[k * stride] = ingest::triangle(offset + k, inverse);
    sum += weight[k * stride];
  }
  for (int k = 0; k < window.taps; ++k) weight[k * stride] = window.taps == 1 ? 1.0f : weight[k * stride] / sum;
  *first = window.first;
  *taps = window.taps;
}

template <typename Sample>
struct alignas(kQuad * sizeof(Sample)) Quad {
  Sample v[kQuad];
};

// Sums kQuad neighbouring elements down `taps` rows. Not kWhole: some lie past the end of the row, or the row is not
// aligned; `present` of them are read one by one.
template <typename Sample, bool kWhole>
__device__ void filter_quad(const std::uint8_t* from, std::ptrdiff_t stride, const float* weight, int taps, int present,
                            float* sum) {
#pragma unroll 4
  for (int k = 0; k < taps; ++k) {
    const Sample* row = reinterpret_cast<const Sample*>(from + k * stride);
    Quad<Sample> quad{};
    if (kWhole) {
      quad = *reinterpret_cast<const Quad<Sample>*>(row);
    } else {
#pragma unroll
      for (int i = 0; i < kQuad; ++i)
        if (i < present) quad.v[i] = row[i];
    }
#pragma unroll
    for (int i = 0; i < kQuad; ++i) sum[i] = fmaf(weight[k], static_cast<float>(quad.v[i]), sum[i]);
  }
}

// `count` planes of the same shape, `per_pixel` interleaved samples each: luma 1, 1; U and V 2, 1; pairs 1, 2.
struct Sources {
  const SourcePlane &plane, &other;
  int count, per_pixel;
};

// One sample of each at (row, column) of the tile at (top, left): the thread's pixel.
template <typename Sample>
__device__ void filter_tile(const Sources& sources, const Axes& axes, int top, int left, int row, int column,
                            const FilterRoom& room, float* shared, float* result) {
  const FilterTables t = lay_out(shared, room);
  const int thread = threadIdx.x;
  __syncthreads();  // the planes before these are done with `shared`
  if (thread < kTileColumns) {
    make_window(axes.x, left + thread, t.first_column + thread, t.columns + thread, t.column_weight + thread,
                kTileColumns);
  } else if (thread < kTileColumns + kTileRows) {
    const int r = thread - kTileColumns;
    make_window(axes.y, top + r, t.first_row + r, t.rows + r, t.row_weight + r * room.rows, 1);
  }
  __syncthreads();

  const int per_pixel = sources.per_pixel, elements = axes.x.limit * per_pixel;
  const int begin = t.first_column[0] * per_pixel / kQuad * kQuad;
  const int end = (t.first_column[kTileColumns - 1] + t.columns[kTileColumns - 1]) * per_pixel;
  const int quads = (end - begin + kQuad - 1) / kQuad, pitch = spaced(quads * kQuad) + 1;
  const int rows = min(kTileRows, axes.y.count - top);
  // Quads of all filtered rows are one list, dealt to the threads in turn.
  int line = thread / quads, quad = thread % quads;
  const int line_step = kThreads / quads, quad_step = kThreads % quads;
  while (line < sources.count * rows) {
    const bool second = line >= rows;
    const int r = second ? line - rows : line;
    const std::uint8_t* data = second ? sources.other.data : sources.plane.data;
    const std::ptrdiff_t stride = second ? sources.other.row_stride : sources.plane.row_stride;
    const bool aligned = (reinterpret_cast<std::uintptr_t>(data) | stride) % sizeof(Quad<Sample>) == 0;
    const int at = begin + quad * kQuad, present = elements - at;
    const std::uint8_t* from = data + t.first_row[r] * stride + at * static_cast<std::ptrdiff_t>(sizeof(Sample));
    const float* weight = t.row_weight + r * room.rows;
    float sum[kQuad] = {};
    if (aligned && present >= kQuad) {
      filter_quad<Sample, true>(from, stride, weight, t.rows[r], kQuad, sum);
    } else {
      filter_quad<Sample, false>(from, stride, weight, t.rows[r], present, sum);
    }
    float* to = t.filtered + (second ? kTileRows + r : r) * pitch;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) to[spaced(quad * kQuad + i)] = sum[i];
    line += line_step;
    quad += quad_step;
    if (quad >= quads) {
      quad -= quads;
      ++line;
    }
  }
  __syncthreads();

  result[0] = result[1] = 0;
  if (row >= rows) return;
  const float* weight = t.column_weight + column;
  const float* from = t.filtered + row * pitch;
  const int taps = t.columns[column], other_plane = sources.count == 2 ? kTileRows * pitch : 0;
  int i = t.first_column[column] * per_pixel - begin;
  for (int k = 0; k < taps; ++k, i += per_pixel) {
    const float w = weight[k * kTileColumns];
    result[0] = fmaf(w, from[spaced(i)], result[0]);
    result[1] = fmaf(w, from[other_plane + spaced(i + per_pixel - 1)], result[1]);
  }
}

template <typename Sample>
__global__ void __launch_bounds__(kThreads, 4) ingest_filter(const __grid_constant__ Batch batch, FilterRoom room) {
  extern __shared__ float ingest_shared[];
  const Target& t = batch.target;
  const Crop& crop = batch.crops[blockIdx.y];
  const int across = (t.width + kTileColumns - 1) / kTileColumns;
  const int tile_row = blockIdx.x / across;
  const int top = tile_row * kTileRows, left = (blockIdx.x - tile_row * across) * kTileColumns;
  const bool down = lanes_go_down(t);
  const int thread = threadIdx.x;
  const int row = down ? thread % kTileRows : thread / kTileColumns;
  const int column = down ? thread / kTileRows : thread % kTileColumns;

  float luma[2], chroma[2] = {};
  filter_tile<Sample>({batch.y, batch.y, 1, 1}, ingest::luma_axes(batch, crop), top, left, row, column, room,
                      ingest_shared, luma);
  if (t.chroma) {
    const Sources sources{batch.u, batch.v, t.semi_planar ? 1 : 2, t.semi_planar ? 2 : 1};
    filter_tile<Sample>(sources, ingest::chroma_axes(batch, crop), top, left, row, column, room, ingest_shared, chroma);
  }
  if (top + row < t.height && left + column < t.width)
    write_pixel(t, crop.out, top + row, left + column, luma[0], chroma[0], chroma[1]);
}

}  // namespace
}  // namespace VQAFAST_ISA
}  // namespace vqafast
