// The machinery that frame_ingest and fragment_sample share: a list of crops, each with its own place in the output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "core/context.h"
#include "ops/frame_ingest/frame_ingest.h"

namespace vqafast::ingest {

// Display orientation. `out` is the first element of channel 0.
struct Crop {
  int x, y, width, height;
  std::uint8_t* out;
};

struct Job {
  const char* op;  // for messages
  const YuvFrame& frame;
  std::int64_t crops;
  std::function<Crop(std::int64_t)> crop;
  int out_height, out_width;  // of every crop
  int channels;
  bool half;
  std::ptrdiff_t out_row, out_column, out_channel;  // bytes
  const Normalisation& normalisation;
};

// On the device of the frame's planes. The CUDA path needs no workspace.
std::size_t workspace_bytes(const Context& context, const Job& job);
void run(const Context& context, const Job& job, void* workspace);

}  // namespace vqafast::ingest
