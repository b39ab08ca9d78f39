// Head and softmax cross-entropy in one pass over chunks of rows: the logits of a chunk become its gradient
// in place and feed dX and dW at once, so logits of the whole batch never exist.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

CrossEntropyResult cross_entropy(Context& ctx, const Tensor& hidden, const Tensor& head,
                                 std::span<const int32_t> targets, float scale) {
  CHECK(hidden.cols() == head.cols() && static_cast<int64_t>(targets.size()) == hidden.rows());
  for (const int32_t t : targets) CHECK(t < head.dim(0), "target {} of {}", t, head.dim(0));
  const std::vector<int64_t> wanted = rows_with_target(targets);
  CrossEntropyResult result{0, static_cast<int64_t>(wanted.size())};
  if (wanted.empty()) return result;
  if (wanted.size() < targets.size()) {  // the head is the dearest product: only rows that count meet it
    return cross_entropy(ctx, gather_rows(ctx, hidden, wanted), head, at_rows(targets, wanted), scale);
  }
  const int64_t rows = hidden.rows(), vocab = head.dim(0);
  const bool gradients = recording(ctx, hidden, head);
  const double products = gradients ? 3 : 1;  // logits, and the gradients of both factors
  const OpScope scope(ctx, "cross entropy", products * product_flops(rows, hidden.cols(), vocab),
                      bytes_of(head));
  std::vector<float> losses(static_cast<size_t>(rows));
  result.loss_sum = over_logits(ctx, hidden, head, rows_at_once(rows, vocab, hidden.cols()), gradients,
                                [&](RowChunk chunk, float* logits) {
                                  float* own = losses.data() + chunk.begin;
                                  kernels::cross_entropy_rows(ctx.pool, ctx.kernels,
                                                              {.rows = chunk.rows,
                                                               .vocab = vocab,
                                                               .logits = logits,
                                                               .targets = targets.data() + chunk.begin,
                                                               .gradient = gradients,
                                                               .scale = scale,
                                                               .losses = own});
                                  double sum = 0;
                                  for (int64_t r = 0; r < chunk.rows; ++r) sum += static_cast<double>(own[r]);
                                  return sum;
                                });
  return result;
}

}  // namespace frugal::ops
