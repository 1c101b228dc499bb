// Runs a job on the GPU: its crops sorted by kernel, as many as fit in each launch.
#include <algorithm>
#include <iterator>

#include "core/cuda_check.cuh"
#include "ops/frame_ingest/frame_ingest_batch.h"
#include "ops/frame_ingest/frame_ingest_direct.cuh"
#include "ops/frame_ingest/frame_ingest_filter.cuh"
#include "ops/frame_ingest/frame_ingest_scale1.cuh"
#include "ops/frame_ingest/frame_ingest_target.h"

namespace vqafast {
namespace VQAFAST_ISA {
namespace {

// Chosen by the crop's box and the output's size alone, so that rotation, layout and type do not change the bits.
enum class Kernel { kScale1, kFilter, kDirect };
constexpr Kernel kKernels[] = {Kernel::kScale1, Kernel::kFilter, Kernel::kDirect};

// What every device gives without being asked for more, in one part for each axis: each grows with the crop's extent on
// that axis alone, so that crops which fit one by one also fit together.
constexpr std::size_t kRowBytes = 4 << 10, kColumnBytes = 44 << 10;

FilterRoom filter_room(const Batch& batch, const Crop& crop, const TileShape& tile) {
  const Axes luma = ingest::luma_axes(batch, crop);
  // Chroma is subsampled, so it has no more taps. Tables of rows are read in groups.
  FilterRoom room{tile, luma.x.max_taps(), (luma.y.max_taps() + kTapGroup - 1) / kTapGroup * kTapGroup,
                  filtered_pitch(luma.x, tile.columns()), 0};
  if (batch.target.chroma) room.chroma_pitch = filtered_pitch(ingest::chroma_axes(batch, crop).x, tile.columns());
  return room;
}

std::size_t shared_bytes(const FilterRoom& room, bool chroma) {
  const std::size_t tables = (chroma ? 2 : 1) * static_cast<std::size_t>(table_floats(room));
  return sizeof(float) * (tables + room.tile.rows * (room.luma_pitch + std::size_t{2} * room.chroma_pitch));
}

bool fits(const FilterRoom& room, bool chroma) {
  const std::size_t rows = (chroma ? 2 : 1) * sizeof(float) * room.tile.rows * room.row_taps;
  return rows <= kRowBytes && shared_bytes(room, chroma) - rows <= kColumnBytes;
}

Kernel kernel_for(const Batch& batch, const Crop& crop) {
  if (crop.width == batch.target.width && crop.height == batch.target.height) return Kernel::kScale1;
  const TileShape& smallest = kTiles[std::size(kTiles) - 1];
  return fits(filter_room(batch, crop, smallest), batch.target.chroma) ? Kernel::kFilter : Kernel::kDirect;
}

// With the largest tile that fits; the smallest one does.
FilterRoom filter_room(const Batch& batch, int crops) {
  FilterRoom room{};
  for (const TileShape& tile : kTiles) {
    room = filter_room(batch, batch.crops[0], tile);
    for (int k = 1; k < crops; ++k) {
      const FilterRoom other = filter_room(batch, batch.crops[k], tile);
      room.column_taps = std::max(room.column_taps, other.column_taps);
      room.row_taps = std::max(room.row_taps, other.row_taps);
      room.luma_pitch = std::max(room.luma_pitch, other.luma_pitch);
      room.chroma_pitch = std::max(room.chroma_pitch, other.chroma_pitch);
    }
    if (fits(room, batch.target.chroma)) break;
  }
  return room;
}

SourcePlane source_plane(const TensorView& t) {
  return {t.as<const std::uint8_t>(), t.stride[0], static_cast<int>(t.shape[0]), static_cast<int>(t.shape[1])};
}

Batch batch_of(const ingest::Job& job) {
  const YuvFrame& frame = job.frame;
  Batch batch{};
  batch.target = ingest::target_of(job);
  batch.y = source_plane(frame.y);
  if (batch.target.chroma) {
    batch.u = source_plane(frame.u);
    batch.v = frame.semi_planar ? batch.u : source_plane(frame.v);
    if (frame.semi_planar) batch.v.data += item_size(frame.y.dtype);
    batch.shift_x = frame.chroma_shift_x;
    batch.shift_y = frame.chroma_shift_y;
  }
  return batch;
}

// Blocks that cover the outputs of `crops` crops.
dim3 grid_of(const char* op, const Target& t, int rows, int columns, int crops) {
  constexpr unsigned kMaxDown = 65535;  // what CUDA allows in y
  const auto parts = [](int length, int part) { return (static_cast<unsigned>(length) + part - 1) / part; };
  const dim3 grid(parts(t.width, columns), parts(t.height, rows), static_cast<unsigned>(crops));
  VQAFAST_CHECK(op, grid.y <= kMaxDown, "a crop of out must fit in one CUDA grid",
                concat(t.height, " rows of ", t.width, " pixels, ", grid.y, " rows of blocks"));
  return grid;
}

template <typename Sample>
void launch(const char* op, cudaStream_t stream, Kernel kernel, const Batch& batch, int crops) {
  const Target& t = batch.target;
  switch (kernel) {
    case Kernel::kScale1: {
      // Wide blocks write long rows; narrow ones waste fewer threads on narrow crops, and suit quarter turns, where
      // lanes go down.
      const int log2_groups = lanes_go_down(t) || t.width <= 8 * kCopyPack ? 3 : 4;
      const int rows = (kThreads >> log2_groups) * kCopyPasses;
      const dim3 grid = grid_of(op, t, rows, kCopyPack << log2_groups, crops);
      return launch_kernel(op, stream, ingest_scale1<Sample>, {grid, kThreads}, batch, log2_groups);
    }
    case Kernel::kFilter: {
      const FilterRoom room = filter_room(batch, crops);
      const dim3 grid = grid_of(op, t, room.tile.rows, room.tile.columns(), crops);
      const std::size_t shared = shared_bytes(room, t.chroma);
      return launch_kernel(op, stream, ingest_filter<Sample>, {grid, kThreads, shared}, batch, room);
    }
    case Kernel::kDirect: {
      const dim3 grid = grid_of(op, t, 1, 1, crops);
      return launch_kernel(op, stream, ingest_direct<Sample>, {grid, kThreads}, batch);
    }
  }
}

}  // namespace
}  // namespace VQAFAST_ISA

namespace ingest {

void run_cuda(const Context& context, const Job& job) {
  using namespace VQAFAST_ISA;
  const DeviceScope scope(job.op, context);
  Batch batch = batch_of(job);
  const auto start = batch.target.wide_samples ? &launch<std::uint16_t> : &launch<std::uint8_t>;
  for (const Kernel kernel : kKernels) {
    int crops = 0;
    const auto flush = [&] {
      if (crops > 0) start(job.op, stream_of(context), kernel, batch, crops);
      crops = 0;
    };
    for (std::int64_t k = 0; k < job.crops; ++k) {
      const Crop crop = to_coded(job, job.crop(k));
      if (kernel_for(batch, crop) != kernel) continue;
      batch.crops[crops++] = crop;
      if (crops == kCropsPerLaunch) flush();
    }
    flush();
  }
}

}  // namespace ingest
}  // namespace vqafast
