#include "train/evaluate.h"

#include <numbers>

#include "core/error.h"
#include "train/loss.h"

namespace frugal {

Validation validate(Context& ctx, Model& model, ValidationWindows& windows, int64_t rows, Cache* cache) {
  LossSums sums;
  windows.rewind();
  while (const auto batch = windows.next(rows)) {
    const LossSums part = evaluate_rows(ctx, model, *batch, cache);
    sums.main += part.main;
    sums.targets += part.targets;
  }
  windows.rewind();
  CHECK(sums.targets == windows.targets());
  Validation result{0, sums.mean(), sums.targets, windows.text_bytes()};
  if (result.bytes == 0) fail("the validation text is empty: bits per byte need at least one byte");
  result.bits_per_byte = sums.main / static_cast<double>(result.bytes) / std::numbers::ln2;
  return result;
}

}  // namespace frugal
