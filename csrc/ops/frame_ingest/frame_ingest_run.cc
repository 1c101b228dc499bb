#include "ops/frame_ingest/frame_ingest_run.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/cpu_target.h"
#include "core/parallel.h"
#include "ops/frame_ingest/frame_ingest_taps.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(ingest::Lanes ingest_lanes_cpu())
VQAFAST_DECLARE_KERNEL(void ingest_rows_cpu(const ingest::CropPlan&, int begin, int end, float* scratch))

namespace ingest {
namespace {

// channel = (clamp(R, 0, 1) - mean) / std for sample values Y, U, V as they are stored, as one affine map and two
// bounds.
void fill_color(const YuvFrame& frame, const Normalisation& normalisation, CropPlan* plan) {
  struct Luminance {
    double red, blue;
  };
  constexpr Luminance kLuminance[] = {{0.299, 0.114}, {0.2126, 0.0722}, {0.2627, 0.0593}};  // by YuvMatrix
  const auto [red, blue] = kLuminance[static_cast<int>(frame.matrix)];
  const double green = 1 - red - blue;
  const double unit = frame.msb_aligned ? std::ldexp(1.0, 16 - frame.bit_depth) : 1.0;
  const double peak = std::ldexp(1.0, frame.bit_depth) - 1, step = std::ldexp(1.0, frame.bit_depth - 8);
  const double luma_scale = 1 / (frame.full_range ? peak : 219 * step), luma_zero = frame.full_range ? 0 : 16 * step;
  const double chroma_scale = 1 / (frame.full_range ? peak : 224 * step), chroma_zero = 128 * step;
  const double cb[3] = {0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)};
  const double cr[3] = {2 * (1 - red), -2 * red * (1 - red) / green, 0};
  for (int c = 0; c < plan->channels; ++c) {
    const double mean = normalisation.mean[c], inverse = 1 / static_cast<double>(normalisation.std[c]);
    double offset = -luma_scale * luma_zero;
    float* k = plan->color[c];
    k[0] = static_cast<float>(luma_scale / unit * inverse);
    k[1] = k[2] = 0;
    if (plan->chroma) {
      k[1] = static_cast<float>(cb[c] * chroma_scale / unit * inverse);
      k[2] = static_cast<float>(cr[c] * chroma_scale / unit * inverse);
      offset -= (cb[c] + cr[c]) * chroma_scale * chroma_zero;
    }
    k[3] = static_cast<float>((offset - mean) * inverse);
    plan->low[c] = static_cast<float>((0 - mean) * inverse);
    plan->high[c] = static_cast<float>((1 - mean) * inverse);
  }
}

// The crop and its place in the output, turned back to the coded orientation.
Crop to_coded(const Job& job, const Crop& shown, CropPlan* plan) {
  const YuvFrame& frame = job.frame;
  const int coded_width = static_cast<int>(frame.y.shape[1]), coded_height = static_cast<int>(frame.y.shape[0]);
  const std::ptrdiff_t last_row = (job.out_height - 1) * job.out_row;
  const std::ptrdiff_t last_column = (job.out_width - 1) * job.out_column;
  plan->height = frame.rotation % 180 ? job.out_width : job.out_height;
  plan->width = frame.rotation % 180 ? job.out_height : job.out_width;
  plan->out_channel = job.out_channel;
  switch (frame.rotation) {
    case 90:  // shown (row, column) is coded (height - 1 - column, row)
      plan->out = shown.out + last_column;
      plan->out_row = -job.out_column;
      plan->out_column = job.out_row;
      return {shown.y, coded_height - shown.x - shown.width, shown.height, shown.width, nullptr};
    case 180:
      plan->out = shown.out + last_row + last_column;
      plan->out_row = -job.out_row;
      plan->out_column = -job.out_column;
      return {coded_width - shown.x - shown.width, coded_height - shown.y - shown.height, shown.width, shown.height,
              nullptr};
    case 270:  // shown (row, column) is coded (column, width - 1 - row)
      plan->out = shown.out + last_row;
      plan->out_row = job.out_column;
      plan->out_column = -job.out_row;
      return {coded_width - shown.y - shown.height, shown.x, shown.height, shown.width, nullptr};
    default:
      plan->out = shown.out;
      plan->out_row = job.out_row;
      plan->out_column = job.out_column;
      return shown;
  }
}

PlanePlan make_plane(const TensorView& plane, const Crop& crop, const CropPlan& plan, bool is_luma, int shift_x,
                     int shift_y, Lanes lanes, Carver& carver) {
  PlanePlan p{};
  p.data = static_cast<const std::uint8_t*>(plane.data);
  p.row_stride = plane.stride[0];
  const Axis x{crop.x, crop.width, plan.width, shift_x, true, static_cast<int>(plane.shape[1])};
  const Axis y{crop.y, crop.height, plan.height, shift_y, false, static_cast<int>(plane.shape[0])};
  // Chroma has no kernel that copies: it is filtered with single taps of weight 1.
  if (is_luma && x.extent == x.count && y.extent == y.count) {
    p.x = identity_taps(x);
    p.y = identity_taps(y);
    return p;
  }
  p.x = make_taps(x, true, lanes, carver);
  p.y = make_taps(y, false, lanes, carver);
  return p;
}

CropPlan make_plan(const Job& job, std::int64_t k, Lanes lanes, Carver& carver) {
  const YuvFrame& frame = job.frame;
  CropPlan plan{};
  plan.wide_samples = frame.y.dtype == DType::kUInt16;
  plan.semi_planar = frame.semi_planar;
  plan.chroma = frame.has_chroma && job.channels == 3;
  plan.channels = job.channels;
  plan.half = job.half;
  const Crop crop = to_coded(job, job.crop(k), &plan);
  plan.luma = make_plane(frame.y, crop, plan, true, 0, 0, lanes, carver);
  if (plan.chroma) {
    plan.chroma_u = make_plane(frame.u, crop, plan, false, frame.chroma_shift_x, frame.chroma_shift_y, lanes, carver);
    plan.chroma_columns = static_cast<int>(frame.u.shape[1]);
    plan.scale1_420 = !plan.luma.y.start && !plan.semi_planar && frame.chroma_shift_x == 1 &&
                      frame.chroma_shift_y == 1 && crop.width == plan.width && crop.height == plan.height;
    if (!plan.semi_planar) {
      plan.chroma_v = plan.chroma_u;
      plan.chroma_v.data = static_cast<const std::uint8_t*>(frame.v.data);
      plan.chroma_v.row_stride = frame.v.stride[0];
    }
  }
  if (!carver.counting()) fill_color(frame, job.normalisation, &plan);
  return plan;
}

// Samples that one thread should have to itself: about 25 us of work, several times what it takes to wake another.
constexpr std::int64_t kSamplesPerWorker = std::int64_t{1} << 18;

std::int64_t samples_of(const CropPlan& plan) {
  const Taps &x = plan.luma.x, &y = plan.luma.y;
  const std::int64_t read = static_cast<std::int64_t>(x.last - x.first) * (y.last - y.first);
  return plan.channels * std::max(read, static_cast<std::int64_t>(plan.width) * plan.height);
}

struct Workspace {
  CropPlan* plans;
  float* scratch;
  std::size_t scratch_floats;  // of one worker
  int workers;
  std::int64_t blocks;  // of rows, per crop
};

Workspace lay_out(const Context& context, const Job& job, Carver& carver) {
  const Lanes lanes = VQAFAST_SELECT_KERNEL(ingest_lanes_cpu)();
  Workspace w{};
  std::int64_t samples = 0;
  w.plans = carver.take<CropPlan>(job.crops);
  for (std::int64_t k = 0; k < job.crops; ++k) {
    const CropPlan plan = make_plan(job, k, lanes, carver);
    w.scratch_floats = std::max(w.scratch_floats, scratch_layout(plan).floats);
    samples += samples_of(plan);
    w.blocks = (plan.height + kRowsPerTask - 1) / kRowsPerTask;
    if (!carver.counting()) w.plans[k] = plan;
  }
  const int threads = context.threads > 0 ? context.threads : usable_threads();
  w.workers =
      static_cast<int>(std::min({std::int64_t{threads}, job.crops * w.blocks, 1 + samples / kSamplesPerWorker}));
  w.scratch = carver.take<float>(w.scratch_floats * w.workers);
  return w;
}

}  // namespace

std::size_t workspace_bytes(const Context& context, const Job& job) {
  Carver counter(nullptr);
  lay_out(context, job, counter);
  return counter.used();
}

void run(const Context& context, const Job& job, void* workspace) {
  Carver carver(workspace);
  const Workspace w = lay_out(context, job, carver);
  const auto rows = VQAFAST_SELECT_KERNEL(ingest_rows_cpu);
  const std::int64_t tasks = job.crops * w.blocks;
  std::atomic<std::int64_t> next{0};
  // One item per worker: each has its own scratch and draws blocks of rows until none is left.
  parallel_for(w.workers, w.workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t worker = begin; worker < end; ++worker) {
      float* scratch = w.scratch + worker * w.scratch_floats;
      for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
        const CropPlan& plan = w.plans[task / w.blocks];
        const int first = static_cast<int>(task % w.blocks) * kRowsPerTask;
        rows(plan, first, std::min(first + kRowsPerTask, plan.height), scratch);
      }
    }
  });
}

}  // namespace ingest
}  // namespace vqafast
