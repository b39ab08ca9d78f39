#include "autograd/ops/soft_loss.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/vocabulary.h"
#include "kernels/kernels.h"

namespace frugal::ops {

std::vector<float> log_softmax(const Context& ctx, float temperature, std::span<float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  for (float& z : logits) z = (z - largest) / temperature;
  std::vector<float> p(logits.size());
  ctx.kernels.exp(static_cast<int64_t>(p.size()), logits.data(), p.data());
  double sum = 0;
  for (const float value : p) sum += static_cast<double>(value);
  const auto log_sum = static_cast<float>(std::log(sum));
  for (float& z : logits) z -= log_sum;
  for (float& value : p) value = static_cast<float>(static_cast<double>(value) / sum);
  return p;
}

double finish_row(const Context& ctx, const DivergenceOptions& o, int32_t target, float scale,
                  std::span<float> logits, const SoftLoss& soft) {
  const auto at = static_cast<size_t>(target);
  double loss = 0;
  std::vector<float> hard;
  if (o.hard_weight != 0) {
    std::vector<float> log_q(logits.begin(), logits.end());
    hard = log_softmax(ctx, 1, log_q);
    loss -= static_cast<double>(o.hard_weight) * static_cast<double>(log_q[at]);
  }
  const std::vector<float> q = log_softmax(ctx, o.temperature, logits);
  loss += static_cast<double>(o.weight) * soft(q, logits);
  double mean = 0;
  for (const float qg : logits) mean += static_cast<double>(qg);
  const float factor = scale * o.weight / o.temperature, shift = static_cast<float>(mean);
  for (size_t j = 0; j < q.size(); ++j) logits[j] = factor * (logits[j] - q[j] * shift);
  if (o.hard_weight != 0) {
    for (size_t j = 0; j < q.size(); ++j) logits[j] += scale * o.hard_weight * hard[j];
    logits[at] -= scale * o.hard_weight;
  }
  return loss;
}

double over_both_logits(Context& ctx, const Tensor& hidden, const Tensor& head, const Tensor& teacher_hidden,
                        const Tensor& teacher_head, int64_t width, int64_t teacher_width,
                        std::span<const int32_t> targets, const DivergenceOptions& options, float scale,
                        const TeacherLoss& soft) {
  const int64_t vocab = head.dim(0), theirs = teacher_head.dim(0);
  const int64_t step = rows_at_once(hidden.rows(), std::max(vocab, theirs), hidden.cols());
  Tensor p = Tensor::empty(ctx, {step, theirs});
  std::vector<double> losses(static_cast<size_t>(step));
  const ChunkLoss loss = [&](RowChunk chunk, float* z) {
    multiply(ctx, teacher_hidden.f32() + chunk.begin * teacher_hidden.cols(), chunk.rows, teacher_head,
             p.f32());
    ctx.pool.parallel_for(chunk.rows, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t r = first; r < last; ++r) {
        const std::span<float> own(z + r * vocab, static_cast<size_t>(width));
        const std::span<float> teacher(p.f32() + r * theirs, static_cast<size_t>(teacher_width));
        losses[static_cast<size_t>(r)] = finish_row(
            ctx, options, targets[static_cast<size_t>(chunk.begin + r)], scale, own,
            [&](std::span<const float> q, std::span<float> log_q) { return soft(teacher, q, log_q); });
        std::fill(z + r * vocab + width, z + (r + 1) * vocab, 0.0f);
      }
    });
    double sum = 0;
    for (int64_t r = 0; r < chunk.rows; ++r) sum += losses[static_cast<size_t>(r)];
    return sum;
  };
  return over_logits(ctx, hidden, head, step, recording(ctx, hidden, head), loss);
}

}  // namespace frugal::ops
