#include "eval/window_batch.h"

#include <algorithm>

namespace frugal {

WindowBatch window_batch(const TrainBatch& windows) {
  size_t rows = windows.targets.size();
  while (rows > 1 && windows.targets[rows - 1] < 0) --rows;
  const auto first = [rows](const std::vector<int32_t>& all) {
    return std::vector<int32_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rows));
  };
  WindowBatch out;
  out.batch.tokens = first(windows.tokens);
  out.batch.positions = first(windows.positions);
  out.targets = first(windows.targets);
  for (const int64_t offset : windows.offsets) {
    if (offset < static_cast<int64_t>(rows)) out.batch.offsets.push_back(offset);
  }
  out.batch.offsets.push_back(static_cast<int64_t>(rows));
  return out;
}

}  // namespace frugal
