// Passes over the vocabulary in chunks of rows, shared by the losses: the logits of a whole batch never
// exist.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "autograd/ops/matmul.h"

namespace frugal::ops {

struct RowChunk {
  int64_t begin, rows;
};

// So many rows of logits at a time: 8 MB. For a large vocabulary more, or the passes over head and its
// gradient would cost more than the products: up to 256 rows while logits take no more than a third of the
// memory of the head in f32, which is `width` wide.
inline int64_t rows_at_once(int64_t rows, int64_t vocab, int64_t width) {
  constexpr int64_t kValues = int64_t{1} << 21, kWorthAPass = 256;
  const int64_t most = std::max(kValues / vocab, std::clamp<int64_t>(width / 3, 1, kWorthAPass));
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return std::max<int64_t>(1, (rows + chunks - 1) / chunks);
}

// Given the logits of a chunk (rows, V): the sum of its losses. With gradients wanted it leaves d(loss) /
// d(logits) in their place.
using ChunkLoss = std::function<double(RowChunk chunk, float* logits)>;
// Runs `loss` over the logits hidden head^T, `step` rows at a time, and returns the sum. With `gradients`,
// what it leaves becomes dX and dW where hidden and head have gradients. In a dry run only memory is
// reserved.
double over_logits(const Context& ctx, const Tensor& hidden, const Tensor& head, int64_t step, bool gradients,
                   const ChunkLoss& loss);

// Rows with a target (not negative).
std::vector<int64_t> rows_with_target(std::span<const int32_t> targets);
// values[i] for every i of `rows`.
std::vector<int32_t> at_rows(std::span<const int32_t> values, std::span<const int64_t> rows);

}  // namespace frugal::ops
