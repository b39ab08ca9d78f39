// Head and softmax cross-entropy in one pass over chunks of rows: the logits of a chunk become its gradient
// in place and feed dX and dW at once, so logits of the whole batch never exist.
#include "autograd/op_scope.h"
#include "autograd/ops.h"
#include "autograd/ops/vocabulary.h"
#include "core/error.h"
#include "kernels/rowwise.h"

namespace frugal::ops {

void chunk_gradients(const Context& ctx, const Tensor& hidden, const Tensor& head, const WeightView& view,
                     const float* dlogits, RowChunk chunk, Tensor::GradientTarget dx) {
  const int64_t width = hidden.cols();
  if (dx.data != nullptr) {
    const auto problem = input_gradient_problem(dlogits, head, view, chunk.rows,
                                                {dx.data + chunk.begin * width, dx.accumulate});
    kernels::gemm(ctx.pool, ctx.kernels, {&problem, 1}, precision(ctx));
  }
  if (head.needs_gradient()) {
    multiply_weight_gradient(ctx, dlogits, hidden.f32() + chunk.begin * width, chunk.rows, head,
                             head.gradient_target(ctx));
  }
}

std::vector<int64_t> rows_with_target(std::span<const int32_t> targets) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] >= 0) rows.push_back(static_cast<int64_t>(i));
  }
  return rows;
}

CrossEntropyResult cross_entropy(Context& ctx, const Tensor& hidden, const Tensor& head,
                                 std::span<const int32_t> targets, float scale) {
  CHECK(hidden.cols() == head.cols() && static_cast<int64_t>(targets.size()) == hidden.rows());
  for (const int32_t t : targets) CHECK(t < head.dim(0), "target {} of {}", t, head.dim(0));
  const std::vector<int64_t> wanted = rows_with_target(targets);
  CrossEntropyResult result{0, static_cast<int64_t>(wanted.size())};
  if (wanted.empty()) return result;
  if (wanted.size() < targets.size()) {  // the head is the dearest product: only rows that count meet it
    std::vector<int32_t> dense;
    for (const int64_t r : wanted) dense.push_back(targets[static_cast<size_t>(r)]);
    return cross_entropy(ctx, gather_rows(ctx, hidden, wanted), head, dense, scale);
  }
  const int64_t rows = hidden.rows(), vocab = head.dim(0);
  const double products = recording(ctx, hidden, head) ? 3 : 1;  // logits, and the gradients of both factors
  const OpScope scope(ctx, "cross entropy", products * product_flops(rows, hidden.cols(), vocab),
                      bytes_of(head));
  const int64_t step = rows_at_once(rows, vocab);
  Tensor logits = Tensor::empty(ctx, {step, vocab});
  std::vector<float> losses(static_cast<size_t>(rows));
  const bool gradients = recording(ctx, hidden, head);
  Tensor::GradientTarget dx{nullptr, false};
  if (gradients && hidden.needs_gradient()) dx = hidden.gradient_target(ctx);
  if (ctx.dry_run()) {
    if (gradients && head.needs_gradient()) head.gradient_target(ctx);
    return result;
  }
  const WeightView view = gradients ? view_weight(head) : WeightView{};
  for (int64_t begin = 0; begin < rows; begin += step) {
    const RowChunk chunk{begin, std::min(step, rows - begin)};
    const Product product{hidden.f32() + begin * hidden.cols(), chunk.rows, &head, logits.f32()};
    multiply(ctx, {&product, 1});
    kernels::cross_entropy_rows(ctx.pool, ctx.kernels,
                                {.rows = chunk.rows,
                                 .vocab = vocab,
                                 .logits = logits.f32(),
                                 .targets = targets.data() + begin,
                                 .gradient = gradients,
                                 .scale = scale,
                                 .losses = losses.data() + begin});
    if (gradients) chunk_gradients(ctx, hidden, head, view, logits.f32(), chunk, dx);
  }
  for (const float loss : losses) result.loss_sum += loss;
  return result;
}

}  // namespace frugal::ops
