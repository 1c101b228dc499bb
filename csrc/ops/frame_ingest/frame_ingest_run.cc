#include "ops/frame_ingest/frame_ingest_run.h"

#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "ops/frame_ingest/frame_ingest_taps.h"
#include "ops/frame_ingest/frame_ingest_target.h"

namespace vqafast {

VQAFAST_DECLARE_KERNEL(ingest::Lanes ingest_lanes_cpu())
VQAFAST_DECLARE_KERNEL(void ingest_rows_cpu(const ingest::CropPlan&, int begin, int end, float* scratch))

namespace ingest {

VQAFAST_DECLARE_CUDA(void run_cuda(const Context&, const Job&))

namespace {

PlanePlan make_plane(const TensorView& plane, const Crop& crop, const CropPlan& plan, bool is_luma, int shift_x,
                     int shift_y, Lanes lanes, Carver& carver) {
  PlanePlan p{};
  p.data = static_cast<const std::uint8_t*>(plane.data);
  p.row_stride = plane.stride[0];
  const auto [x, y] = axes_of(crop.x, crop.y, crop.width, crop.height, plan.width, plan.height, shift_x, shift_y,
                              static_cast<int>(plane.shape[0]), static_cast<int>(plane.shape[1]));
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

CropPlan make_plan(const Job& job, const Target& target, std::int64_t k, Lanes lanes, Carver& carver) {
  const YuvFrame& frame = job.frame;
  CropPlan plan{};
  static_cast<Target&>(plan) = target;
  const Crop crop = to_coded(job, job.crop(k));
  plan.out = crop.out;
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
  const Target target = target_of(job);
  Workspace w{};
  std::int64_t samples = 0;
  w.plans = carver.take<CropPlan>(job.crops);
  for (std::int64_t k = 0; k < job.crops; ++k) {
    const CropPlan plan = make_plan(job, target, k, lanes, carver);
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

bool on_cuda(const Job& job) { return job.frame.y.device == DeviceType::kCuda; }

}  // namespace

std::size_t workspace_bytes(const Context& context, const Job& job) {
  if (on_cuda(job)) return 0;
  Carver counter(nullptr);
  lay_out(context, job, counter);
  return counter.used();
}

void run(const Context& context, const Job& job, void* workspace) {
#ifdef VQAFAST_OP_HAS_CUDA
  if (on_cuda(job)) return run_cuda(on_device(context, {DeviceType::kCuda, job.frame.y.device_index}), job);
#endif
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
