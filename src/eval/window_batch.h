// Validation windows as batches of a forward.
#pragma once

#include <vector>

#include "data/batch.h"
#include "nn/batch.h"

namespace frugal {

struct WindowBatch {
  Batch batch;
  std::vector<int32_t> targets;  // (R), -1: none
};
// Padding, the run without targets at the end, is left out.
WindowBatch window_batch(const TrainBatch& windows);

}  // namespace frugal
