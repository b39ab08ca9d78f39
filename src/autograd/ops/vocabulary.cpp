#include "autograd/ops/vocabulary.h"

namespace frugal::ops {
namespace {

// From d(logits) of a chunk: dX of its rows (dx: of all rows, or null) and, where the head has one, its
// gradient.
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

}  // namespace

double over_logits(const Context& ctx, const Tensor& hidden, const Tensor& head, int64_t step, bool gradients,
                   const ChunkLoss& loss) {
  Tensor logits = Tensor::empty(ctx, {step, head.dim(0)});
  Tensor::GradientTarget dx{nullptr, false};
  if (gradients && hidden.needs_gradient()) dx = hidden.gradient_target(ctx);
  if (ctx.dry_run()) {
    if (gradients && head.needs_gradient()) head.gradient_target(ctx);
    return 0;
  }
  const WeightView view = gradients ? view_weight(head) : WeightView{};
  double sum = 0;
  for (int64_t begin = 0; begin < hidden.rows(); begin += step) {
    const RowChunk chunk{begin, std::min(step, hidden.rows() - begin)};
    const Product product{.x = hidden.f32() + begin * hidden.cols(),
                          .rows = chunk.rows,
                          .weight = &head,
                          .y = logits.f32(),
                          .sensitivity = Sensitivity::high};
    multiply(ctx, {&product, 1});
    sum += loss(chunk, logits.f32());
    if (gradients) chunk_gradients(ctx, hidden, head, view, logits.f32(), chunk, dx);
  }
  return sum;
}

std::vector<int64_t> rows_with_target(std::span<const int32_t> targets) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] >= 0) rows.push_back(static_cast<int64_t>(i));
  }
  return rows;
}

std::vector<int32_t> at_rows(std::span<const int32_t> values, std::span<const int64_t> rows) {
  std::vector<int32_t> out;
  for (const int64_t row : rows) out.push_back(values[static_cast<size_t>(row)]);
  return out;
}

}  // namespace frugal::ops
