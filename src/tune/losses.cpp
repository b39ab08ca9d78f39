#include "tune/losses.h"

#include "core/error.h"

namespace frugal {

LossSums sft_objective(Context& ctx, Model& model, const TrainBatch& rows, const LossSums& step, double) {
  CHECK(step.mtp.empty(), "fine-tuning does not train multi-token prediction");
  const TrainRows wanted = without_padding(rows);
  LossSums sums;
  if (wanted.batch.rows() == 0) return sums;  // a micro-batch of padding
  const Hidden hidden = model.forward(ctx, wanted.batch, nullptr);
  const float scale = step.targets > 0 ? static_cast<float>(1.0 / static_cast<double>(step.targets)) : 0.0f;
  const auto result = ops::cross_entropy(ctx, hidden.normed, model.head(), wanted.targets, scale);
  sums.main = result.loss_sum;
  sums.targets = result.counted;
  if (ctx.tape != nullptr) ctx.tape->backward(ctx);
  return sums;
}

SequenceLogProbs sequence_log_probs(Context& ctx, Model& model, const TrainRows& rows, float temperature) {
  const Hidden hidden = model.forward(ctx, rows.batch, nullptr);
  SequenceLogProbs out{ops::token_log_probs(ctx, hidden.normed, model.head(), rows.targets, temperature),
                       rows.batch.offsets,
                       rows.targets,
                       {},
                       {}};
  for (size_t s = 0; s + 1 < out.offsets.size(); ++s) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = out.offsets[s]; i < out.offsets[s + 1] && !ctx.dry_run(); ++i) {
      if (out.targets[static_cast<size_t>(i)] < 0) continue;
      sum += static_cast<double>(out.tokens.f32()[i]);
      ++count;
    }
    out.sums.push_back(sum);
    out.counts.push_back(count);
  }
  return out;
}

void SequenceLogProbs::backward_from(const Context& ctx, std::span<const float> token_gradients) const {
  if (ctx.dry_run()) {
    tokens.gradient_target(ctx);
    return;
  }
  Tape::seed(ctx, tokens, token_gradients);
}

void SequenceLogProbs::backward_from_sums(const Context& ctx, std::span<const double> sum_gradients) const {
  CHECK(sum_gradients.size() + 1 == offsets.size());
  std::vector<float> gradients(targets.size(), 0.0f);
  for (size_t s = 0; s < sum_gradients.size(); ++s) {
    for (auto i = static_cast<size_t>(offsets[s]); i < static_cast<size_t>(offsets[s + 1]); ++i) {
      if (targets[i] >= 0) gradients[i] = static_cast<float>(sum_gradients[s]);
    }
  }
  backward_from(ctx, gradients);
}

}  // namespace frugal
