// Runs a job on the GPU: its crops sorted by kernel, as many as fit in each launch.
#include <algorithm>
#include <climits>

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

constexpr std::size_t kSharedBytes = 48 << 10;  // what every device gives without being asked for more

struct FilterShared {
  FilterRoom room;
  int filtered;  // floats

  std::size_t bytes() const {
    const std::size_t weights = static_cast<std::size_t>(kTileColumns) * room.columns + kTileRows * room.rows;
    return (kTableInts + weights + filtered) * sizeof(float);
  }
};

FilterShared filter_shared(const Batch& batch, const Crop& crop) {
  const Axes luma = ingest::luma_axes(batch, crop);
  // Chroma is subsampled, so it has no more taps.
  FilterShared s{{luma.x.max_taps(), luma.y.max_taps()}, kTileRows * filtered_floats(reach(luma.x, kTileColumns))};
  if (batch.target.chroma) {
    const int samples = reach(ingest::chroma_axes(batch, crop).x, kTileColumns);
    const int row = batch.target.semi_planar ? filtered_floats(2 * samples) : 2 * filtered_floats(samples);
    s.filtered = std::max(s.filtered, kTileRows * row);
  }
  return s;
}

Kernel kernel_for(const Batch& batch, const Crop& crop) {
  if (crop.width == batch.target.width && crop.height == batch.target.height) return Kernel::kScale1;
  return filter_shared(batch, crop).bytes() <= kSharedBytes ? Kernel::kFilter : Kernel::kDirect;
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

// Blocks that cover a crop's output.
unsigned blocks(const char* op, const Target& t, int rows, int columns) {
  const auto parts = [](int length, int part) { return (std::int64_t{length} + part - 1) / part; };
  const std::int64_t count = parts(t.height, rows) * parts(t.width, columns);
  VQAFAST_CHECK(op, count <= INT_MAX, "a crop of out must fit in one CUDA grid",
                concat(t.height, " rows of ", t.width, " pixels, ", count, " blocks"));
  return static_cast<unsigned>(count);
}

template <typename Sample>
void launch(const char* op, cudaStream_t stream, Kernel kernel, const Batch& batch, int crops) {
  const unsigned count = static_cast<unsigned>(crops);
  const Target& t = batch.target;
  switch (kernel) {
    case Kernel::kScale1: {
      const dim3 grid(blocks(op, t, kCopySide, kCopySide), count);
      ingest_scale1<Sample><<<grid, kThreads, 0, stream>>>(batch);
      break;
    }
    case Kernel::kFilter: {
      FilterShared shared{};
      for (int k = 0; k < crops; ++k) {
        const FilterShared s = filter_shared(batch, batch.crops[k]);
        shared.room.columns = std::max(shared.room.columns, s.room.columns);
        shared.room.rows = std::max(shared.room.rows, s.room.rows);
        shared.filtered = std::max(shared.filtered, s.filtered);
      }
      const dim3 grid(blocks(op, t, kTileRows, kTileColumns), count);
      ingest_filter<Sample><<<grid, kThreads, shared.bytes(), stream>>>(batch, shared.room);
      break;
    }
    case Kernel::kDirect: {
      const dim3 grid(blocks(op, t, 1, 1), count);
      ingest_direct<Sample><<<grid, kThreads, 0, stream>>>(batch);
      break;
    }
  }
  check_launch(op);
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
