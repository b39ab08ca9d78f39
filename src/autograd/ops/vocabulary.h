// Passes over the vocabulary in chunks of rows, shared by the losses: the logits of a whole batch never
// exist.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "autograd/ops/matmul.h"

namespace frugal::ops {

struct RowChunk {
  int64_t begin, rows;
};

// So many rows of logits at a time (8 MB), at least one.
inline int64_t rows_at_once(int64_t rows, int64_t vocab) {
  constexpr int64_t kValues = int64_t{1} << 21;
  return std::clamp<int64_t>(kValues / vocab, 1, std::max<int64_t>(rows, 1));
}

// From d(logits) of a chunk: dX of its rows (dx: of all rows, or null; `first`: overwrite) and, where the
// head has one, its gradient.
void chunk_gradients(const Context& ctx, const Tensor& hidden, const Tensor& head, const WeightView& view,
                     const float* dlogits, RowChunk chunk, Tensor::GradientTarget dx);

// Rows with a target (not negative).
std::vector<int64_t> rows_with_target(std::span<const int32_t> targets);

}  // namespace frugal::ops
