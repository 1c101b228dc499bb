#include "ops/frame_ingest/frame_ingest_kernels.h"

namespace vqafast {
namespace VQAFAST_ISA {

ingest::Lanes ingest_lanes_cpu() { return {kLanes, kPermuteWindow}; }

void ingest_rows_cpu(const ingest::CropPlan& plan, int begin, int end, float* scratch) {
  if (plan.wide_samples) {
    plan.half ? ingest_rows<std::uint16_t, Half>(plan, begin, end, scratch)
              : ingest_rows<std::uint16_t, float>(plan, begin, end, scratch);
  } else {
    plan.half ? ingest_rows<std::uint8_t, Half>(plan, begin, end, scratch)
              : ingest_rows<std::uint8_t, float>(plan, begin, end, scratch);
  }
}

}  // namespace VQAFAST_ISA
}  // namespace vqafast
