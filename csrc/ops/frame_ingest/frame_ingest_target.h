// A job as its kernels see it: the coded picture, whatever its rotation, and samples as they are stored.
#pragma once

#include "ops/frame_ingest/frame_ingest_plan.h"
#include "ops/frame_ingest/frame_ingest_run.h"

namespace vqafast::ingest {

// What all crops of a job share: everything but `out`.
Target target_of(const Job& job);

// The crop turned back to the coded orientation. `out` is where the first pixel of its first row goes.
Crop to_coded(const Job& job, const Crop& shown);

}  // namespace vqafast::ingest
